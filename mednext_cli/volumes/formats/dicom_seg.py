"""DICOM Segmentation of a label map, through highdicom (extra ``dicom``).

Binary, a segment for each structure, also for those that were not found. Each frame says where it
lies and which slice it is of; frames without voxels are left out, so that size follows what was
found. Source: DICOM PS3.3 A.51 and C.8.20.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mednext_cli.foundation.errors import ScanError
from mednext_cli.foundation.files import replacing
from mednext_cli.volumes.formats.dicom_codes import SCHEME, SCHEME_NAME, code_of
from mednext_cli.volumes.formats.dicom_objects import (
    MAKER,
    Origin,
    Structure,
    Subject,
    copy_common,
    texts,
)
from mednext_cli.volumes.formats.dicom_source import UTF_8, Source

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from pydicom.dataset import Dataset

_NUMBER = 1
_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("AccessionNumber", "StudyID"),
)


def write_segmentation(path: Path, subject: Subject) -> None:
    """Write a label map as DICOM SEG.

    Args:
        path: the file.
        subject: the label map.

    Raises:
        ScanError: highdicom does not take the series. StorageError: the disk refuses.
    """
    made = _build(subject)
    with replacing(path) as beside:
        made.save_as(beside, enforce_file_format=True)


def _build(subject: Subject) -> "Dataset":
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.seg import Segmentation

    source, origin = subject.source, subject.origin
    try:
        made = Segmentation(
            source_images=_images(source),
            **_frames(subject),
            segmentation_type="BINARY",
            segment_descriptions=_segments(subject.structures, origin),
            series_instance_uid=subject.uid("SEG", "series"),
            series_number=subject.series_number(_NUMBER),
            sop_instance_uid=subject.uid("SEG", "instance"),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=origin.version,
            device_serial_number=origin.models[0][:16],
            content_label="SEGMENTATION",
            content_description=origin.title,
            series_description=origin.title,
            specific_character_set=UTF_8,
            content_date=source.date,
            content_time=source.time,
            coding_schemes=[CodingSchemeIdentificationItem(SCHEME, SCHEME_NAME)],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ScanError(
            f"{source.path} cannot be given a DICOM segmentation: {error}",
            "Predict it without --dicom-seg.",
        ) from error
    copy_common(source, made)
    _settle(made, subject.uid("SEG", "dimensions"))
    return made


def _frames(subject: Subject) -> dict[str, Any]:
    """All of them; of an empty label map one, since highdicom leaves out none where all are empty.

    Else a scan without a finding had the largest file, with every class in every slice.
    """
    from highdicom import PlanePositionSequence

    if subject.numbers.any():
        return {"pixel_array": subject.numbers}
    position = [float(value) for value in subject.source.slices[0].position]
    planes = [PlanePositionSequence("PATIENT", position)]
    one = {"pixel_array": subject.numbers[:1], "plane_positions": planes}
    return {**one, "omit_empty_frames": False}  # it would say so itself


def _images(source: Source) -> list["Dataset"]:
    """The slices as highdicom takes them: all that places them, nothing of the patient.

    It refuses odd values of patients, which are copied as they are afterwards, and orientations
    that differ in their last digits.
    """
    from pydicom.dataset import Dataset

    images = []
    for one in source.slices:
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = one.sop_class, one.instance
        image.StudyInstanceUID = source.common.StudyInstanceUID
        image.SeriesInstanceUID = source.series
        image.FrameOfReferenceUID = source.common.FrameOfReferenceUID
        image.Modality = source.modality
        image.Rows, image.Columns = source.size
        image.ImagePositionPatient = list(one.position)
        image.ImageOrientationPatient = _decimal(source.orientation)
        image.PixelSpacing = _decimal(source.pixel_spacing)
        image.SliceThickness = _decimal([source.thickness])[0]
        for keyword in _EMPTY:
            setattr(image, keyword, "")
        image.StudyDate = image.StudyTime = None
        images.append(image)
    return images


def _decimal(values: Any) -> list[str]:  # noqa: ANN401 - numbers, whatever holds them
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(value)) for value in values]


def _segments(structures: tuple[Structure, ...], origin: Origin) -> list["SegmentDescription"]:
    from highdicom.color import CIELabColor
    from highdicom.content import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(
        origin.title,
        codes.cid7162.ArtificialIntelligence,
        origin.version,
        source=MAKER,
        parameters=origin.parameters,
    )
    made = []
    for number, (label, one) in enumerate(zip(texts(structures), structures, strict=True), 1):
        coding = code_of(one.name)
        segment = SegmentDescription(
            number,
            label,
            coding.category,
            coding.kind,
            "AUTOMATIC",
            algorithm,
            display_color=CIELabColor.from_rgb(*one.colour),
        )
        if coding.side is not None:
            kind = segment.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = [CodedConcept.from_code(coding.side)]
        made.append(segment)
    return made


def _settle(made: "Dataset", uid: str) -> None:
    """Put a UID that stays in place of a random one, and leave out when highdicom worked."""
    for one in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        one.DimensionOrganizationUID = uid
    for one in made.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in one:
            del one.ContributionDateTime
