"""The bytes of a file that may be a gzip, which its content tells, not its name.

ISA-L unpacks CTs 1.8 times and packs label maps 6 times as fast as zlib.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from mednext_cli.foundation.files import replacing

DamagedGzipError: Any = isal_zlib.error  # its stubs call the class an instance
_GZIP = b"\x1f\x8b"
_GZIP_MOST = 1032  # deflate packs no more bytes into one
_WITH_GZIP_HEADER = 31
_PIECE = 2**18  # bytes read and inflated at once: they stay in the processor's cache
_BEHIND = 2**20  # bytes that are looked at, at most, behind the last span for the checksum
# Of 0 to 3: label maps come out 2 to 46 % smaller than with zlib's level 1, CTs 2 % larger.
_LEVEL = 2


def is_gzip(path: Path) -> bool:
    """Whether a file begins as a gzip does.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return stream.read(len(_GZIP)) == _GZIP


def most_bytes(path: Path) -> int:
    """More than this a file cannot hold, inflated or not.

    Raises:
        OSError: it cannot be read.
    """
    return path.stat().st_size * (_GZIP_MOST if is_gzip(path) else 1)


def read_start(path: Path, count: int) -> bytes:
    """The first bytes, `count` of them or as many as there are.

    Raises:
        OSError: it cannot be read. DamagedGzipError: a damaged gzip.
    """
    with path.open("rb") as stream:
        if not is_gzip(path):
            return stream.read(count)
        return b"".join(_Inflater(stream).pieces(count))


def read_spans(
    path: Path, spans: Sequence[tuple[int, int]], end: int
) -> Iterator[NDArray[np.uint8]]:
    """Spans of the bytes, one after the other; in ascending order they are inflated once.

    Of a gzip, nothing beyond `end` is kept, and no more than a mebibyte looked at: it may hold any
    amount. The checksum that lies there, or before, must fit, which the last span waits for. What
    follows a whole gzip is ignored, as gzip itself does.

    Args:
        path: the file.
        spans: start, in the inflated bytes, and length of each.
        end: where the last byte lies that anybody may want; no span reaches beyond.

    Raises:
        OSError: it cannot be read. EOFError: it ends before `end`. DamagedGzipError: a damaged
            gzip.
    """
    if not is_gzip(path):
        if path.stat().st_size < end:
            raise EOFError
        for start, count in spans:
            yield np.memmap(path, dtype=np.uint8, mode="c", offset=start, shape=(count,))
        return
    with path.open("rb") as stream:
        inflated = _Inflated(stream)
        for start, count in spans[:-1]:
            yield inflated.read(start, count)
        for start, count in spans[-1:]:
            yield inflated.read_last(start, count, end)


def write_bytes(path: Path, parts: Iterable[bytes], *, packed: bool) -> None:
    """Write a file whole or not at all; a gzip without name and time, the same for the same bytes.

    Raises:
        StorageError: the disk refuses.
    """
    with replacing(path) as beside, beside.open("wb") as stream:
        if not packed:
            stream.writelines(parts)
            return
        engine = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _WITH_GZIP_HEADER)
        stream.writelines(map(engine.compress, parts))
        stream.write(engine.flush())


class _Inflated:
    """The inflated bytes of a stream, read forwards; what lies behind is inflated again."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._inflater, self._position = _Inflater(stream), 0

    def read(self, start: int, count: int) -> NDArray[np.uint8]:
        """A span."""
        if start < self._position:
            self._stream.seek(0)
            self._inflater, self._position = _Inflater(self._stream), 0
        self._skip(start - self._position)
        made = np.empty(count, dtype=np.uint8)
        filled = 0
        for piece in self._inflater.pieces(count):
            made[filled : filled + len(piece)] = np.frombuffer(piece, dtype=np.uint8)
            filled += len(piece)
        self._move(count, filled)
        return made

    def read_last(self, start: int, count: int, end: int) -> NDArray[np.uint8]:
        """A span, when everything up to `end` is found whole."""
        made = self.read(start, count)
        self._skip(end - self._position)
        self._inflater.finish()
        return made

    def _skip(self, count: int) -> None:
        self._move(count, sum(map(len, self._inflater.pieces(count))))

    def _move(self, wanted: int, found: int) -> None:
        if found < wanted:
            raise EOFError
        self._position += found


class _Inflater:
    """A gzip of one or several members, inflated no further than asked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._engine = isal_zlib.decompressobj(_WITH_GZIP_HEADER)
        self._waiting = b""

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next bytes, `count` of them or as many as there are."""
        while count > 0:
            piece = self._next(min(_PIECE, count))
            if not piece and self._engine.eof and not self._next_member():
                return
            count -= len(piece)
            if piece:
                yield piece

    def finish(self) -> None:
        """Go on to the end of this member, whose checksum is compared, if it is near.

        Raises:
            EOFError: the file ends before. DamagedGzipError: the checksum does not fit.
        """
        behind = 0
        while not self._engine.eof and behind <= _BEHIND:
            behind += len(self._next(_PIECE))

    def _next(self, most: int) -> bytes:
        """Some bytes of this member; none where it is at its end.

        Raises:
            EOFError: the file ends within the member.
        """
        while not self._engine.eof:
            given = self._waiting or self._stream.read(_PIECE)
            piece = self._engine.decompress(given, most)
            self._waiting = self._engine.unconsumed_tail
            if piece:
                return piece
            if not given:
                raise EOFError
        return b""

    def _next_member(self) -> bool:
        """Begin the next member; False where there is none, but the end, zeros or anything else."""
        rest = self._engine.unused_data
        while len(rest := rest.lstrip(b"\0")) < len(_GZIP):
            more = self._stream.read(_PIECE)
            if not more:
                return False
            rest += more
        self._engine, self._waiting = isal_zlib.decompressobj(_WITH_GZIP_HEADER), rest
        return rest.startswith(_GZIP)
