"""RT Structure Set of a label map: contours in the planes of the series' slices.

A region of interest for each structure, also for those that were not found, which have no contour.
Source: DICOM PS3.3 A.19 and C.8.8.5 to C.8.8.8.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mednext_cli.foundation.files import replacing
from mednext_cli.volumes.formats.contours import Points, outline
from mednext_cli.volumes.formats.dicom_codes import SCHEME, SCHEME_NAME, code_of
from mednext_cli.volumes.formats.dicom_objects import (
    MAKER,
    Structure,
    Subject,
    copy_common,
    item,
    sequence,
    texts,
)
from mednext_cli.volumes.formats.dicom_source import Slice, Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

_NUMBER = 2
_STUDY = "1.2.840.10008.3.1.2.3.1"  # what structure sets refer to studies by
_DECIMALS = 4  # of mm; DICOM has 16 characters a number


def write_structure_set(path: Path, subject: Subject) -> None:
    """Write a label map as RT Structure Set.

    Args:
        path: the file.
        subject: the label map.

    Raises:
        StorageError: the disk refuses.
    """
    made = _build(subject)
    with replacing(path) as beside:
        made.save_as(beside, enforce_file_format=True)


def _build(subject: Subject) -> "FileDataset":
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ImplicitVRLittleEndian, RTStructureSetStorage

    source, origin = subject.source, subject.origin
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = UID(subject.uid("RTSTRUCT", "instance"))
    # Explicit encodings have no more than 64 KiB for the corners of a contour.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID = RTStructureSetStorage
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID = subject.uid("RTSTRUCT", "series")
    made.SeriesNumber = subject.series_number(_NUMBER)
    made.InstanceNumber, made.Modality, made.OperatorsName = 1, "RTSTRUCT", ""
    made.SeriesDescription = origin.title
    made.Manufacturer = made.ManufacturerModelName = MAKER
    made.SoftwareVersions = origin.version
    made.StructureSetLabel, made.StructureSetName = MAKER, origin.title
    made.StructureSetDescription = f"{origin.title}, models {origin.parameters['models']}"
    made.StructureSetDate, made.StructureSetTime = source.date, source.time
    made.ApprovalStatus = "UNAPPROVED"
    made.CodingSchemeIdentificationSequence = sequence(
        CodingSchemeDesignator=SCHEME, CodingSchemeName=SCHEME_NAME
    )
    copy_common(source, made)
    made.ReferencedFrameOfReferenceSequence = _references(source)
    _add_regions(made, subject)
    return made


def _references(source: Source) -> list["Dataset"]:
    """Every slice of the series."""
    series = sequence(
        SeriesInstanceUID=source.series,
        ContourImageSequence=[_reference(one) for one in source.slices],
    )
    study = sequence(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=source.common.StudyInstanceUID,
        RTReferencedSeriesSequence=series,
    )
    return sequence(
        FrameOfReferenceUID=source.common.FrameOfReferenceUID, RTReferencedStudySequence=study
    )


def _reference(one: Slice) -> "Dataset":
    return item({"ReferencedSOPClassUID": one.sop_class, "ReferencedSOPInstanceUID": one.instance})


def _add_regions(made: "Dataset", subject: Subject) -> None:
    source, structures = subject.source, subject.structures
    boxes = ndimage.find_objects(subject.numbers, max_label=len(structures))
    rois, contours, observations = [], [], []
    for number, (name, one) in enumerate(zip(texts(structures), structures, strict=True), 1):
        rois.append(
            item(
                {
                    "ROINumber": number,
                    "ReferencedFrameOfReferenceUID": source.common.FrameOfReferenceUID,
                    "ROIName": name,
                    "ROIGenerationAlgorithm": "AUTOMATIC",
                    "ROIGenerationDescription": subject.origin.title,
                }
            )
        )
        contours.append(_contours(subject, number, one, boxes[number - 1]))
        observations.append(_observation(number, one))
    made.StructureSetROISequence = rois
    made.ROIContourSequence = contours
    made.RTROIObservationsSequence = observations


def _contours(
    subject: Subject, number: int, structure: Structure, box: tuple[slice, ...] | None
) -> "Dataset":
    roi = item({"ROIDisplayColor": list(structure.colour), "ReferencedROINumber": number})
    found: list[Dataset] = []
    if box is not None:
        source = subject.source
        for index, points in _outlines(subject.numbers, number, box):
            one = source.slices[index]
            found.append(
                item(
                    {
                        "ContourImageSequence": [_reference(one)],
                        "ContourGeometricType": "CLOSED_PLANAR",
                        "NumberOfContourPoints": len(points),
                        "ContourNumber": len(found) + 1,
                        "ContourData": _to_patient(points, source, one),
                    }
                )
            )
        roi.ContourSequence = found
    return roi


def _outlines(
    numbers: NDArray[np.unsignedinteger], number: int, box: tuple[slice, ...]
) -> Iterator[tuple[int, Points]]:
    """Each polygon of a structure as (column, row), and the slice that it lies in."""
    corner = np.array([box[2].start, box[1].start], dtype=np.float64)
    for index in range(box[0].start, box[0].stop):
        mask = numbers[index][box[1:]] == number
        for points in outline(mask) if mask.any() else ():
            yield index, points + corner


def _to_patient(points: Points, source: Source, one: Slice) -> list[Any]:
    """Corners in the patient's coordinates (LPS, mm), x, y, z after each other.

    Args:
        points: (N, 2) columns and rows.
        source: of the slice.
        one: the slice.
    """
    along_row, along_column = np.array(source.orientation).reshape(2, 3)
    between_rows, between_columns = source.pixel_spacing
    start = np.array([float(value) for value in one.position])
    placed = (
        start
        + points[:, :1] * (along_row * between_columns)
        + points[:, 1:] * (along_column * between_rows)
    )
    return [float(value) for value in (np.round(placed, _DECIMALS) + 0.0).ravel()]


def _observation(number: int, structure: Structure) -> "Dataset":
    kind = code_of(structure.name).kind
    return item(
        {
            "ObservationNumber": number,
            "ReferencedROINumber": number,
            "RTROIIdentificationCodeSequence": sequence(
                CodeValue=kind.value,
                CodingSchemeDesignator=kind.scheme_designator,
                CodeMeaning=kind.meaning,
            ),
            "RTROIInterpretedType": "",
            "ROIInterpreter": "",
        }
    )
