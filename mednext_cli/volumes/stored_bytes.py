"""The bytes of a file that may be a gzip, which its content tells, not its name."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_GZIP = b"\x1f\x8b"
_GZIP_MOST = 1032  # deflate packs no more bytes into one
_WITH_GZIP_HEADER = 31
_PIECE = 2**20  # bytes inflated at once, and at most looked at behind the span for the checksum


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
        OSError: it cannot be read. zlib.error: a damaged gzip.
    """
    with path.open("rb") as stream:
        if not is_gzip(path):
            return stream.read(count)
        made = b""
        for piece in _Inflater(stream).pieces(count):
            made += piece
        return made


def read_span(path: Path, start: int, count: int, end: int) -> NDArray[np.uint8]:
    """The bytes from `start` on, `count` of them.

    Of a gzip, nothing beyond `end` is kept, and no more than a mebibyte looked at: it may hold any
    amount. The checksum that lies there, or before, must fit. What follows a whole gzip is ignored,
    as gzip itself does.

    Args:
        path: the file.
        start: of the span, in the inflated bytes.
        count: length of the span.
        end: where the last byte lies that anybody may want; at least `start` + `count`.

    Raises:
        OSError: it cannot be read. EOFError: it ends before `end`. zlib.error: a damaged gzip.
    """
    if not is_gzip(path):
        if path.stat().st_size < end:
            raise EOFError
        return np.memmap(path, dtype=np.uint8, mode="c", offset=start, shape=(count,))
    made = np.empty(count, dtype=np.uint8)
    position = 0
    with path.open("rb") as stream:
        inflater = _Inflater(stream)
        for piece in inflater.pieces(end):
            _place(piece, position - start, made)
            position += len(piece)
        if position < end:
            raise EOFError
        inflater.finish()
    return made


def _place(piece: bytes, offset: int, made: NDArray[np.uint8]) -> None:
    """Put a piece where it belongs, cut to what there is of it."""
    first, last = max(0, offset), min(len(made), offset + len(piece))
    if first < last:
        part = np.frombuffer(piece, dtype=np.uint8)
        made[first:last] = part[first - offset : last - offset]


class _Inflater:
    """A gzip of one or several members, inflated no further than asked."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._engine = zlib.decompressobj(_WITH_GZIP_HEADER)
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
        """Go on to the end of this member, whose checksum zlib compares, if it is near.

        Raises:
            EOFError: the file ends before. zlib.error: the checksum does not fit.
        """
        behind = 0
        while not self._engine.eof and behind <= _PIECE:
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
        self._engine, self._waiting = zlib.decompressobj(_WITH_GZIP_HEADER), rest
        return rest.startswith(_GZIP)
