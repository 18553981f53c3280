"""DICOM files as streams that pydicom can be let loose on: known as such, whole, of bounded size.

Files without preamble and prefix are read too, as dcm2niix, ITK and pydicom's `force` do. A
deflated file is unpacked as far as its header claims, no further. Source: DICOM PS3.10 7.1, PS3.5.
"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from mednext_cli.foundation.errors import ScanError

ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
DEFLATED = "1.2.840.10008.1.2.1.99"
_PREFIX = 128
_FIRST_GROUPS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")  # little-endian 8 and 2; big-endian 8
_MOST_ELEMENT = 0x2000  # first elements of a data set have small numbers, far below this
_MOST_HEADER = 2**24  # bytes before the pixels
_MARGIN = 2**20  # bytes after them
_MOST_SLICE = 2**28  # bytes: 8192 x 16384 voxels of 16 bits
_MOST_PACKED = 200  # to one; scans are packed 2 to 20 to one
_NEVER_MIND = 2**26  # bytes: a slice of one colour may be packed as tightly as it likes


def has_dicom_name(path: Path) -> bool:
    """Whether the name alone says DICOM (many have no ending at all)."""
    return path.suffix.lower() in ENDINGS


def is_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM does, with prefix or without; a few bytes are read."""
    if path.name.startswith(".") or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            start = stream.read(_PREFIX + 4)
    except OSError:
        return False
    return start[_PREFIX:] == b"DICM" or _begins_data_set(start)


def _begins_data_set(start: bytes) -> bool:
    """Whether these are the first bytes of a data set without a file's preamble."""
    if len(start) < 16 or start[:2] not in _FIRST_GROUPS:
        return False
    big = start[:2] == _FIRST_GROUPS[2]
    (element,) = struct.unpack(">H" if big else "<H", start[2:4])
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    (length,) = struct.unpack("<I", start[4:8])
    return element < _MOST_ELEMENT and (explicit or (not big and length < _MOST_ELEMENT))


def open_stream(library: Any, path: Path) -> io.BufferedIOBase:  # noqa: ANN401
    """The file, ready for `pydicom.dcmread`; a deflated one unpacked.

    Args:
        library: pydicom.
        path: the file.

    Raises:
        ScanError: it unpacks to more than its header claims, or claims too much; says no more
            than that. OSError: it cannot be read. Exception: whatever broken bytes lead to.
    """
    stream = _Clamped(path)
    try:
        library.filereader.read_preamble(stream, True)
        meta = library.filereader._read_file_meta_info(stream)
        if str(meta.get("TransferSyntaxUID", "")) != DEFLATED:
            stream.seek(0)
            return stream
        meta.TransferSyntaxUID = library.uid.ExplicitVRLittleEndian
        start = io.BytesIO(bytes(_PREFIX) + b"DICM")
        start.seek(0, io.SEEK_END)
        library.filewriter.write_file_meta_info(start, meta, enforce_standard=False)
        packed = stream.read()
    except BaseException:
        stream.close()
        raise
    stream.close()
    return _inflate(library, start.getvalue(), packed)


def _inflate(library: Any, start: bytes, packed: bytes) -> io.BytesIO:  # noqa: ANN401
    """The data set after its meta information `start`, up to where the pixels should end."""
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    content = start + unpacking.decompress(packed, _MOST_HEADER)
    if unpacking.unconsumed_tail:
        stream = io.BytesIO(content)
        header = library.dcmread(stream, stop_before_pixels=True)
        check_claim(header, len(packed))
        room = stream.tell() + claimed_bytes(header) + _MARGIN - len(content)
        content += unpacking.decompress(unpacking.unconsumed_tail, max(room, 1))
        if unpacking.unconsumed_tail:
            raise ScanError("damaged: it unpacks to more than its header claims")
    return io.BytesIO(content)


def claimed_bytes(header: Any) -> int:  # noqa: ANN401
    """Bytes of pixels, unpacked, that a header announces."""
    voxels = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames") or 1)
    bits = int(header.get("BitsAllocated") or 16)
    return (voxels * int(header.get("SamplesPerPixel") or 1) * bits + 7) // 8


def check_claim(header: Any, size: int) -> None:  # noqa: ANN401
    """Raise `ScanError` where a header claims more pixels than `size` bytes of a file can hold.

    Unpacked, a slice takes at most what any scanner makes, and one of more than a few bytes is not
    packed as tightly as only zeros can be.
    """
    if claimed_bytes(header) > min(_MOST_SLICE, max(_NEVER_MIND, _MOST_PACKED * size)):
        raise ScanError(
            f"its header claims {header.Columns} x {header.Rows} pixels, more than it can hold"
        )


class _Clamped(io.BufferedReader):
    """A file of which no more is asked than it has, whatever lengths it claims.

    Python takes memory for as many bytes as it is asked for before it reads.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """As any file; raises `ValueError` where nothing sensible was asked."""
        wanted = self._size if size is None or size < 0 else size
        return super().read(min(wanted, self._size))
