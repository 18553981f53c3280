"""One DICOM file as its header describes it: a slice, something else, or damaged."""

import functools
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom_bytes import check_claim, claimed_bytes, open_stream

Kind = Literal["slice", "object", "damaged"]
COPY = "Copy or export the series again."
CONVERT = "Convert the series with dcm2niix and give the NIfTI file."
_TAGS = (
    "SOPClassUID",
    "ImageType",
    "Modality",
    "SeriesDescription",
    "SeriesNumber",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "NumberOfFrames",
    "SliceThickness",
    "SpacingBetweenSlices",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
_PIXELS = (  # tags of pixels and of floating-point pixels, little and big endian
    b"\xe0\x7f\x10\x00", b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00",
    b"\x7f\xe0\x00\x10", b"\x7f\xe0\x00\x08", b"\x7f\xe0\x00\x09",
)  # fmt: skip
_UNDEFINED = b"\xff" * 4  # length of encapsulated pixels
_VOLUMES = ("CT Image", "MR Image", "Positron", "Nuclear", "X-Ray 3D", "Enhanced")


@dataclass(frozen=True)
class Header:
    """What one file says of itself.

    Attributes:
        path: the file.
        kind: slice of an image; another object (report, structures, ...); or damaged.
        why: of what is no slice: what it is instead, for people.
        known: whether the standard lists its kind.
    series: SeriesInstanceUID, "" where there is none.
        instance: SOPInstanceUID.
        number: SeriesNumber as text; "" where it is no number.
        description: SeriesDescription.
        localizer: a scout that others were planned on.
        flat: of a kind that never makes a volume (screenshots, radiographs); its name.
        position: of the first pixel's centre, LPS, mm; () where it is not said, as in the next two.
        orientation: direction cosines of rows, then columns.
        pixel_spacing: distances of rows and columns, mm.
        size: columns and rows.
        frames: in the file.
        samples: values a pixel has.
        thickness: distance of slices, else their thickness, mm.
        enhanced: of a kind that keeps a whole volume in a file.
        claimed: bytes of its pixels, unpacked.
        stored: bytes of the file.
    """

    path: Path
    kind: Kind
    why: str = ""
    known: bool = False
    series: str = ""
    instance: str = ""
    number: str = ""
    description: str = ""
    localizer: bool = False
    flat: str = ""
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    pixel_spacing: tuple[float, ...] = ()
    size: tuple[int, int] = (0, 0)
    frames: int = 1
    samples: int = 1
    thickness: float | None = None
    enhanced: bool = False
    claimed: int = 0
    stored: int = 0


def library(path: Path) -> Any:  # noqa: ANN401 - pydicom's own types are not needed
    """pydicom, made to keep to itself what it finds odd.

    Raises:
        ScanError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ScanError(
            f"{path} needs pydicom, which is not installed", "pip install 'mednext[dicom]'."
        ) from error
    # What a header holds beside its values is not looked at, and no reason to warn.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    return pydicom


def read_header(path: Path) -> Header:
    """The header of a DICOM file; read once while the file stays as it is.

    Raises:
        ScanError: pydicom is not installed.
    """
    library(path)
    try:
        status = path.stat()
    except OSError as error:
        return Header(path, "damaged", error.strerror or "cannot be read")
    return _read(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=20_000)
def _read(path: Path, size: int, _modified_ns: int) -> Header:
    if size == 0:
        return Header(path, "damaged", "empty")
    try:
        return _parse(path, size)
    except MemoryError:
        raise
    except OSError as error:
        return Header(path, "damaged", error.strerror or "cannot be read")
    except ScanError as error:
        return Header(path, "damaged", error.message.removeprefix(f"{path} is "))
    except Exception:  # pydicom lets through whatever broken bytes lead to
        return Header(path, "damaged", "damaged or cut off")


def _parse(path: Path, size: int) -> Header:
    pydicom = library(path)
    with open_stream(pydicom, path) as stream:
        header = pydicom.dcmread(
            stream, stop_before_pixels=True, specific_tags=list(_TAGS), force=True
        )
        at = stream.tell()
        pixels = stream.read(12)
        held = stream.seek(0, 2) - at - 8 if pixels[:4] in _PIXELS else 0
    base = Header(
        path,
        "damaged",
        "cut off before its pixels",
        series=str(header.get("SeriesInstanceUID", "")),
        instance=str(header.get("SOPInstanceUID", "")),
        number=_digits(header.get("SeriesNumber")),
        description=str(header.get("SeriesDescription") or ""),
        stored=size,
    )
    uid = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
    name = "" if uid is None or uid.name == str(uid) else str(uid.name)
    if name and "Image Storage" not in name:
        return replace(base, kind="object", why=name, known=True)
    if held and "Rows" in header and "Columns" in header:
        _check_claim(header, _UNDEFINED in (pixels[4:8], pixels[8:]), held, size)
        return _slice(base, header, name)
    if name or held or not base.series:
        return base
    return replace(base, kind="object", why="an object of a private kind, without pixels")


def _check_claim(header: Any, packed: bool, held: int, size: int) -> None:  # noqa: ANN401
    """Raise `ScanError` where the header claims more than the file holds or any scan has."""
    claimed, frames = claimed_bytes(header), int(header.get("NumberOfFrames") or 1)
    if min(int(header.Rows), int(header.Columns), frames) < 1:
        raise ScanError("without pixels")
    if frames > 1 or int(header.get("SamplesPerPixel") or 1) > 1:  # refused for that, not unpacked
        return
    if not packed and claimed > held:
        raise ScanError("cut off: its header claims more pixels than it holds")
    check_claim(header, size)


def _slice(base: Header, header: Any, name: str) -> Header:  # noqa: ANN401
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    image_type = [str(part).upper() for part in _listed(header.get("ImageType"))]
    return replace(
        base,
        kind="slice",
        why="",
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(header, "PixelSpacing", 2),
        size=(int(header.Columns), int(header.Rows)),
        frames=int(header.get("NumberOfFrames") or 1),
        samples=int(header.get("SamplesPerPixel") or 1),
        thickness=float(thickness) if thickness else None,
        localizer="LOCALIZER" in image_type,
        flat="" if not name or any(word in name for word in _VOLUMES) else name,
        enhanced="Enhanced" in name,
        claimed=claimed_bytes(header),
    )


def _digits(value: Any) -> str:  # noqa: ANN401
    """A number as text; it becomes part of a file's name, and headers hold anything."""
    text = str(value).strip()
    return text if text.isascii() and text.isdigit() else ""


def _listed(value: Any) -> list[Any]:  # noqa: ANN401
    """Several values as a list; pydicom gives one by itself, and None for none."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _numbers(header: Any, tag: str, count: int) -> tuple[float, ...]:  # noqa: ANN401
    """The numbers of an element; () where it is missing or empty.

    Raises:
        ValueError: it holds another number of them, or not finite ones.
    """
    values = header.get(tag)
    if not values:
        return ()
    found = tuple(float(value) for value in values)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError(tag)
    return found
