"""The pixels of one DICOM slice, unpacked as far as its header claims."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom_bytes import open_stream
from mednext_cli.volumes.formats.dicom_header import COPY, Header, library

_JPEG_SIZES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # markers of a frame's header
_DECODED = "pip install 'mednext[dicom]' brings a decoder."
_NOT_DECODED = (
    "Decompress it (dcmdjpeg, gdcmconv --raw), convert it with dcm2niix, or pip install "
    "python-gdcm, which decodes most kinds."
)
_JPEG_2000 = b"\xff\x4f\xff\x51"
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length


def read_pixels(header: Header) -> NDArray[np.float32]:
    """Intensities of a slice (row, column), rescale slope and intercept applied.

    Raises:
        ScanError: the file is damaged, or packed in a way that no decoder here can unpack.
    """
    try:
        dataset = _read(header)
        packed = bool(dataset.file_meta.TransferSyntaxUID.is_compressed)
        if packed:
            _check_stream(header, dataset.get("PixelData") or b"")
    except MemoryError:
        raise
    except Exception as error:  # pydicom lets through whatever broken bytes lead to
        raise _damaged(header) from error
    stored = _decode(header, dataset, packed)
    try:
        slope = float(dataset.get("RescaleSlope") or 1)
        intercept = float(dataset.get("RescaleIntercept") or 0)
    except Exception as error:  # pydicom reads values when they are asked for
        raise _damaged(header) from error
    if (
        stored.shape != (header.size[1], header.size[0])
        or not np.isfinite([slope, intercept]).all()
    ):
        raise _damaged(header)
    with np.errstate(over="ignore"):  # becomes infinite, which is checked where it matters
        return np.asarray(stored, dtype=np.float32) * np.float32(slope) + np.float32(intercept)


def _read(header: Header) -> Any:  # noqa: ANN401 - pydicom's own types are not needed
    pydicom = library(header.path)
    with open_stream(pydicom, header.path) as stream:
        dataset = pydicom.dcmread(stream, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:  # a data set without the file's preamble
        implicit, little = dataset.original_encoding
        uids = pydicom.uid
        explicit = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
        syntax = uids.ImplicitVRLittleEndian if implicit else explicit
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _decode(header: Header, dataset: Any, packed: bool) -> NDArray[Any]:  # noqa: ANN401
    try:
        return np.asarray(dataset.pixel_array)
    except MemoryError:
        raise
    except Exception as error:
        syntax = dataset.file_meta.TransferSyntaxUID
        if not packed or _has_decoder(header, syntax):
            raise _damaged(header) from error
        raise ScanError(
            f"{header.path} is compressed ({syntax.name}) and cannot be decoded",
            _DECODED if "JPEG 2000" in syntax.name else _NOT_DECODED,
        ) from error


def _has_decoder(header: Header, syntax: Any) -> bool:  # noqa: ANN401
    try:
        return bool(library(header.path).pixels.get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _damaged(header: Header) -> ScanError:
    return ScanError(f"{header.path} is damaged or cut off", COPY)


def _check_stream(header: Header, content: bytes) -> None:
    """Raise `ScanError` where the packed stream is of another size than the header says.

    Decoders take memory by the stream's own word.
    """
    for start in (_JPEG_2000, b"\xff\xd8\xff"):
        at = content.find(start)
        if at < 0:
            continue
        size = _size_2000(content, at) if start == _JPEG_2000 else _size_jpeg(content, at)
        if size is not None and size != header.size:
            raise _damaged(header)
        return


def _size_2000(content: bytes, at: int) -> tuple[int, int]:
    """Columns and rows of a JPEG 2000 code stream; Source: ISO 15444-1 A.5.1."""
    right, lower, left, upper = (
        int.from_bytes(content[at + 8 + 4 * part : at + 12 + 4 * part], "big") for part in range(4)
    )
    return right - left, lower - upper


def _size_jpeg(content: bytes, at: int) -> tuple[int, int] | None:
    """Columns and rows of a JPEG or JPEG-LS stream; None where it does not come to say."""
    at += 2
    while at + 9 < len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _JPEG_SIZES:
            rows = int.from_bytes(content[at + 5 : at + 7], "big")
            return int.from_bytes(content[at + 7 : at + 9], "big"), rows
        if marker in _ALONE or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
