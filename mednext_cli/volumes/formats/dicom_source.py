"""What objects derived from a DICOM series repeat of it: patient, study, and where its slices lie.

Text is decoded once: derived objects are written in UTF-8, whatever the series is written in.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom import DICOM, slices_in_order
from mednext_cli.volumes.formats.dicom_bytes import open_stream
from mednext_cli.volumes.formats.dicom_header import COPY, Header, library

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_IDENTIFYING = (  # PS3.3: Patient, General Study, Patient Study, Clinical Trial Subject and Study
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime"),
    *("PatientSex", "OtherPatientIDs", "EthnicGroup", "PatientComments", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyDescription", "PatientAge", "PatientSize"),
    *("PatientWeight", "ClinicalTrialSponsorName", "ClinicalTrialProtocolID"),
    *("ClinicalTrialProtocolName", "ClinicalTrialSiteID", "ClinicalTrialSiteName"),
    *("ClinicalTrialSubjectID", "ClinicalTrialTimePointID"),
)
_ALWAYS_THERE = (  # empty where the series does not say (type 2)
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)
_PLACED = ("FrameOfReferenceUID", "PositionReferenceIndicator")
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_DATES = ("Series", "Acquisition", "Content", "Study")
_OF_SLICES = ("SOPClassUID", "SOPInstanceUID", "ImagePositionPatient", "FrameOfReferenceUID")
_WITHOUT = "Predict it without --dicom-seg and --rtstruct."
UTF_8 = "ISO_IR 192"


@dataclass(frozen=True)
class Slice:
    """One image of the series.

    Attributes:
        sop_class, instance: SOPClassUID and SOPInstanceUID.
        position: ImagePositionPatient as text, LPS, mm.
    """

    sop_class: str
    instance: str
    position: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Source:
    """A series as objects that are derived from it refer to it.

    Attributes:
        path: of the series.
        common: elements of patient, study and frame of reference, text as UTF-8.
        series: SeriesInstanceUID.
        series_number: of the series; None where it has none.
        modality: of the series.
        date, time: of the scan: ``YYYYMMDD`` and ``HHMMSS``; the first of 1900 where nothing says.
        slices: in the order of the volume's third axis.
        orientation: direction cosines of rows, then columns, LPS.
        pixel_spacing: distances of rows and of columns, mm.
        thickness: of a slice, mm.
        size: rows and columns.
    """

    path: Path
    common: "Dataset"
    series: str
    series_number: int | None
    modality: str
    date: str
    time: str
    slices: tuple[Slice, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    thickness: float
    size: tuple[int, int]


def read_source(path: Path) -> Source:
    """Read the headers of a series.

    Args:
        path: its folder, or a file of it.

    Raises:
        ScanError: it cannot be read, or lacks what a derived object has to name.
    """
    headers = slices_in_order(path)
    first = _read(headers[0], (*_IDENTIFYING, *_PLACED, *_REQUIRED, *_series_tags()))
    missing = [tag for tag in _REQUIRED if not first.get(tag)]
    if missing:
        raise ScanError(f"{path} has no {' and no '.join(missing)}", _WITHOUT)
    slices = [_read(header, _OF_SLICES) for header in headers]
    _check(path, slices, str(first.FrameOfReferenceUID))
    date, time = _moment(first)
    number = str(first.get("SeriesNumber") or "").strip()
    return Source(
        path,
        _common(first),
        str(first.SeriesInstanceUID),
        int(number) if number.isdecimal() and len(number) < 8 else None,
        str(first.get("Modality") or "OT"),
        date,
        time,
        tuple(_slice(one) for one in slices),
        headers[0].orientation,
        headers[0].pixel_spacing,
        headers[0].thickness or DICOM.read_grid(path).spacing_mm[2],
        headers[0].size[::-1],
    )


def _series_tags() -> tuple[str, ...]:
    moments = tuple(f"{of}{kind}" for of in _DATES for kind in ("Date", "Time"))
    return ("SpecificCharacterSet", "SeriesNumber", "Modality", *moments)


def _read(header: Header, tags: Sequence[str]) -> "Dataset":
    pydicom = library(header.path)
    try:
        with open_stream(pydicom, header.path) as stream:
            found: Dataset = pydicom.dcmread(
                stream, stop_before_pixels=True, specific_tags=list(tags), force=True
            )
            found.decode()
    except MemoryError:
        raise
    except Exception as error:  # pydicom lets through whatever broken bytes lead to
        raise ScanError(f"{header.path} is damaged or cut off", COPY) from error
    return found


def _check(path: Path, slices: Sequence["Dataset"], frame: str) -> None:
    """Raise `ScanError` where slices cannot be referred to one by one, in one place."""
    known = [str(one.get("SOPInstanceUID") or "") for one in slices]
    if "" in known or len(set(known)) < len(known):
        raise ScanError(f"{path} has slices without a SOPInstanceUID of their own", _WITHOUT)
    if any(str(one.get("FrameOfReferenceUID", frame)) != frame for one in slices):
        raise ScanError(f"{path} has slices of several frames of reference", _WITHOUT)
    private = {str(one.get("SOPClassUID") or "") for one in slices if not _is_public(one)}
    if private:
        kind = private.pop() or "none"
        raise ScanError(f"{path} is of a private kind of image, {kind}", _WITHOUT)


def _is_public(one: "Dataset") -> bool:
    uid = one.get("SOPClassUID")
    return bool(uid) and uid.name != str(uid)


def _slice(one: "Dataset") -> Slice:
    position = tuple(str(value) for value in one.ImagePositionPatient)
    return Slice(str(one.SOPClassUID), str(one.SOPInstanceUID), position)


def _common(first: "Dataset") -> "Dataset":
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword in (*_IDENTIFYING, *_PLACED):
        if keyword in first:
            made[keyword] = first[keyword]
        elif keyword in (*_ALWAYS_THERE, "PositionReferenceIndicator"):
            setattr(made, keyword, "")
    made.SpecificCharacterSet = UTF_8
    return made


def _moment(first: "Dataset") -> tuple[str, str]:
    for of in _DATES:
        date = str(first.get(f"{of}Date") or "").strip()
        if not re.fullmatch(r"\d{8}", date):
            continue
        try:
            datetime.date(int(date[:4]), int(date[4:6]), int(date[6:]))
        except ValueError:
            continue
        time = re.match(r"([01]\d|2[0-3])[0-5]\d[0-5]\d", str(first.get(f"{of}Time") or ""))
        return date, time[0] if time else "000000"
    return "19000101", "000000"
