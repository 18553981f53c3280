"""DICOM SEG and RT Structure Set, read back by other libraries and put over the NIfTI label map."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from matplotlib.path import Path as Polygon

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom_codes import code_of
from mednext_cli.volumes.formats.dicom_objects import Origin, Structure, Subject, number_frames
from mednext_cli.volumes.formats.dicom_rtstruct import write_structure_set
from mednext_cli.volumes.formats.dicom_seg import write_segmentation
from mednext_cli.volumes.formats.dicom_source import read_source
from mednext_cli.volumes.scans import write_label_map
from tests.datasets.conftest import write_series

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")
ROWS, COLUMNS, SLICES = 28, 24, 12
ORIGIN = Origin("kits19", "1.2", ("0123456789abcdef" * 4,))
STRUCTURES = (
    Structure("left_kidney", 1, (230, 85, 60)),
    Structure("absent", 3, (1, 2, 3)),
    Structure("tumour", 4, (70, 160, 240)),
)
PATIENT: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Yamada^Tarou=山田^太郎",
    "PatientID": "p-7",
    "PatientBirthDate": "19710203",
    "PatientSex": "M",
    "StudyInstanceUID": "1.2.3.4",
    "FrameOfReferenceUID": "1.2.3.5",
    "StudyDate": "20200102",
    "StudyTime": "101112.5",
    "AccessionNumber": "a-9",
    "StudyDescription": "Größe",
    "SeriesNumber": 4,
}
TURN = np.deg2rad(25)
OBLIQUE = [np.cos(TURN), np.sin(TURN), 0.0, 0.0, 0.0, -1.0]
ACQUISITIONS = {
    "axial": ([1, 0, 0, 0, 1, 0], 2.5, (0.8, 0.8, 2.5)),
    "reversed": ([1, 0, 0, 0, 1, 0], -2.5, (0.8, 0.8, 2.5)),
    "sagittal": ([0, 1, 0, 0, 0, -1], 1.25, (0.7, 0.7, 1.25)),
    "coronal feet first": ([-1, 0, 0, 0, 0, 1], 3.0, (0.9, 0.9, 3.0)),
    "oblique": (OBLIQUE, -1.5, (1.1, 1.1, 1.5)),
    "anisotropic": ([1, 0, 0, 0, 1, 0], 6.0, (0.5, 1.3, 6.0)),
}

QUICK = ("sagittal", "oblique")
EVERY = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ACQUISITIONS
]


def series(folder: Path, name: str = "axial", **changes: Any) -> Path:
    cosines, step, spacing = ACQUISITIONS[name]
    normal = np.cross(cosines[:3], cosines[3:])

    def position(number: int) -> list[str]:
        return [f"{value:.6f}" for value in np.array([3.5, -40, 25]) + normal * step * number]

    stored = np.zeros((ROWS, COLUMNS, SLICES), np.int16)
    places = {"ImageOrientationPatient": [f"{value:.8f}" for value in cosines]}
    return write_series(
        folder,
        stored,
        spacing=spacing,
        **{**PATIENT, **places, "ImagePositionPatient": position, **changes},
    )


def labels() -> np.ndarray:
    """(column, row, slice): a kidney with a lake and an island in it, tumours that touch it."""
    x, y, z = np.indices((COLUMNS, ROWS, SLICES))
    distance = np.hypot(x - 10, y - 13)
    made = np.where((distance < 9) & (z > 1) & (z < 9), 1, 0).astype(np.uint8)
    made[(distance < 5) & (z > 3)] = 0
    made[(distance < 2) & (z == 5)] = 1
    made[12:24, 20:26, 6:12] = 4
    made[0, 0, 11] = 4
    return made


def subject_of(folder: Path, made: np.ndarray, origin: Origin = ORIGIN) -> Subject:
    source = read_source(folder)
    return Subject(source, number_frames(made, STRUCTURES), STRUCTURES, origin)


def nifti_of(folder: Path, made: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The label map as `mednext predict` writes it, as nibabel reads it: values, affine."""
    write_label_map(path, made, folder, {one.name: one.value for one in STRUCTURES})
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def to_voxels(points_lps: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Places in the patient (N, 3), LPS, as indices into the NIfTI file."""
    ras = points_lps * [-1, -1, 1]
    return np.linalg.solve(affine[:3, :3], (ras - affine[:3, 3]).T).T


@pytest.mark.parametrize("name", EVERY)
def test_segments_lie_where_the_label_map_does(tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "series", name)
    expected, affine = nifti_of(folder, labels(), tmp_path / "labels.nii.gz")
    write_segmentation(tmp_path / "a.seg.dcm", subject_of(folder, labels()))
    seg = highdicom.seg.segread(tmp_path / "a.seg.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    positions = {
        path.SOPInstanceUID: path.ImagePositionPatient
        for path in map(pydicom.dcmread, folder.iterdir())
    }
    found = np.zeros_like(expected)
    for frame, groups in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        start = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        of = groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        np.testing.assert_allclose(np.array(positions[of], float), start)
        rows, columns = np.nonzero(frame)
        assert len(rows)
        offsets = np.outer(columns * between[1], cosines[:3]) + np.outer(
            rows * between[0], cosines[3:]
        )
        voxels = to_voxels(start + offsets, affine)
        np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-3)
        found[tuple(np.rint(voxels).astype(int).T)] = STRUCTURES[number - 1].value
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", EVERY)
def test_contours_filled_again_are_the_label_map(tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "series", name)
    expected, affine = nifti_of(folder, labels(), tmp_path / "labels.nii.gz")
    write_structure_set(tmp_path / "a.rtstruct.dcm", subject_of(folder, labels()))
    made = pydicom.dcmread(tmp_path / "a.rtstruct.dcm")
    slices = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, folder.iterdir())}
    pixels = np.stack(np.indices(expected.shape[:2]), -1).reshape(-1, 2)
    for structure, roi in zip(STRUCTURES, made.ROIContourSequence, strict=True):
        assert list(roi.ROIDisplayColor) == list(structure.colour)
        filled = np.zeros(expected.shape, bool)
        for contour in roi.get("ContourSequence", ()):
            assert contour.ContourGeometricType == "CLOSED_PLANAR"
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert len(points) == contour.NumberOfContourPoints
            of = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            heights = (points - np.array(of.ImagePositionPatient, float)) @ np.cross(
                *np.array(of.ImageOrientationPatient, float).reshape(2, 3)
            )
            assert np.abs(heights).max() < 1e-3  # in the slice's own plane
            voxels = to_voxels(points, affine)
            place = round(voxels[0, 2])
            assert np.abs(voxels[:, 2] - place).max() < 1e-3
            closed = np.concatenate([voxels[:, :2], voxels[:1, :2]])
            inside = Polygon(closed).contains_points(pixels).reshape(expected.shape[:2])
            filled[:, :, place] ^= inside
        truth = expected == structure.value
        dice = 2 * (filled & truth).sum() / max(1, filled.sum() + truth.sum())
        assert dice > 0.98 if truth.any() else not filled.any()


def test_absent_classes_and_empty_label_maps(tmp_path: Path) -> None:
    folder = series(tmp_path / "series")
    subject = subject_of(folder, np.zeros((COLUMNS, ROWS, SLICES), np.uint8))
    write_segmentation(tmp_path / "a.seg.dcm", subject)
    write_structure_set(tmp_path / "a.rtstruct.dcm", subject)
    seg = highdicom.seg.segread(tmp_path / "a.seg.dcm")
    uids = [one.instance for one in subject.source.slices]
    read = seg.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)
    assert read.shape == (SLICES, ROWS, COLUMNS, 3)
    assert not read.any()
    structures = pydicom.dcmread(tmp_path / "a.rtstruct.dcm")
    assert not any("ContourSequence" in roi for roi in structures.ROIContourSequence)
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == [
        one.name for one in STRUCTURES
    ]


def test_what_the_objects_say_of_patient_source_and_algorithm(tmp_path: Path) -> None:
    folder = series(tmp_path / "series", DeidentificationMethod="none")
    subject = subject_of(folder, labels())
    write_segmentation(tmp_path / "a.seg.dcm", subject)
    write_structure_set(tmp_path / "a.rtstruct.dcm", subject)
    first = pydicom.dcmread(next(folder.iterdir()))
    instances = {pydicom.dcmread(path).SOPInstanceUID for path in folder.iterdir()}
    seg, structures = (pydicom.dcmread(tmp_path / f"a.{kind}.dcm") for kind in ("seg", "rtstruct"))
    for made in (seg, structures):
        for keyword in ("DeidentificationMethod", *PATIENT):
            if keyword != "SeriesNumber":
                assert made[keyword].value == first[keyword].value, keyword
        assert made.SeriesInstanceUID != first.SeriesInstanceUID
        assert made.SoftwareVersions == "1.2"
    assert len({seg.SeriesInstanceUID, structures.SeriesInstanceUID, first.SeriesInstanceUID}) == 3
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == first.SeriesInstanceUID
    assert {
        one.ReferencedSOPInstanceUID for one in referenced.ReferencedInstanceSequence
    } == instances
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    of_series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert {one.ReferencedSOPInstanceUID for one in of_series.ContourImageSequence} == instances
    kidney, absent, tumour = seg.SegmentSequence
    algorithm = kidney.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("mednext kits19", "1.2")
    assert "0123456789abcdef" in algorithm.AlgorithmParameters
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert tumour.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    own = absent.SegmentedPropertyTypeCodeSequence[0]
    assert (own.CodeValue, own.CodingSchemeDesignator) == ("absent", "99MEDNEXT")


def test_the_same_is_written_twice_and_no_uid_is_of_two_contents(tmp_path: Path) -> None:
    folder = series(tmp_path / "series")
    other = labels()
    other[3, 3, 3] = 1
    seeded = dataclasses.replace(ORIGIN, uid_seed="second reading")
    corrected = shutil.copytree(folder, tmp_path / "corrected")  # as archives do it: UIDs stay
    for path in corrected.iterdir():
        one = pydicom.dcmread(path)
        one.PatientID = "p-8"
        one.save_as(path)
    subjects = {
        "first": subject_of(folder, labels()),
        "again": subject_of(folder, labels()),
        "seeded": subject_of(folder, labels(), seeded),
        "other": subject_of(folder, other),
        "corrected": subject_of(corrected, labels()),
    }
    uids: dict[str, set[str]] = {}
    for name, subject in subjects.items():
        for kind, write in (("seg", write_segmentation), ("rtstruct", write_structure_set)):
            path = tmp_path / f"{name}.{kind}.dcm"
            write(path, subject)
            made = pydicom.dcmread(path)
            uids.setdefault(name, set()).update((made.SOPInstanceUID, made.SeriesInstanceUID))
    for kind in ("seg", "rtstruct"):
        first, again = (tmp_path / f"{name}.{kind}.dcm" for name in ("first", "again"))
        assert first.read_bytes() == again.read_bytes()
    assert uids["first"] == uids["again"]
    assert len(uids["first"] | uids["seeded"] | uids["other"] | uids["corrected"]) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"PatientSex": "male", "PatientBirthDate": "about 1950", "SeriesNumber": None},
        {"StudyDate": "19.3.2020", "StudyTime": "noon"},
        {"PatientName": "M\xfcller^J\xfcrgen", "SpecificCharacterSet": "ISO_IR 100"},
        {name: None for name in PATIENT if not name.endswith("UID")},
    ],
    ids=["odd patient", "odd date", "Latin-1", "anonymous"],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.filterwarnings("ignore:The value length")
def test_odd_headers_are_borne(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = series(tmp_path / "series", **changes)
    subject = subject_of(folder, labels())
    write_segmentation(tmp_path / "a.seg.dcm", subject)
    write_structure_set(tmp_path / "a.rtstruct.dcm", subject)
    for kind in ("seg", "rtstruct"):
        made = pydicom.dcmread(tmp_path / f"a.{kind}.dcm")
        assert str(made.PatientName) == str(
            changes.get("PatientName", PATIENT["PatientName"]) or ""
        )
        assert str(made.PatientID) == (changes.get("PatientID", "p-7") or "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"FrameOfReferenceUID": ""}, "has no FrameOfReferenceUID"),
        ({"StudyInstanceUID": ""}, "has no StudyInstanceUID"),
        ({"FrameOfReferenceUID": lambda number: f"1.2.{number}"}, "several frames of reference"),
        ({"SOPInstanceUID": "1.2.3"}, "without a SOPInstanceUID of their own"),
        ({"SOPClassUID": "1.3.12.2.1107.5.99.1"}, "a private kind of image"),
    ],
)
def test_series_that_cannot_be_referred_to(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    folder = series(tmp_path / "series", **changes)
    with pytest.raises(ScanError, match=said):
        read_source(folder)


def test_names_fit_and_stay_apart(tmp_path: Path) -> None:
    folder = series(tmp_path / "series")
    names = ("x" * 80 + "a", "x" * 80 + "b", "left\\right", "Niere, größer", "two\r\nlines\x00")
    structures = tuple(Structure(name, value, (9, 9, 9)) for value, name in enumerate(names, 1))
    source = read_source(folder)
    made = np.zeros((COLUMNS, ROWS, SLICES), np.uint8)
    subject = Subject(source, number_frames(made, structures), structures, ORIGIN)
    write_segmentation(tmp_path / "a.seg.dcm", subject)
    write_structure_set(tmp_path / "a.rtstruct.dcm", subject)
    segments = pydicom.dcmread(tmp_path / "a.seg.dcm").SegmentSequence
    rois = pydicom.dcmread(tmp_path / "a.rtstruct.dcm").StructureSetROISequence
    said = [str(one.SegmentLabel) for one in segments]
    assert said == [str(one.ROIName) for one in rois]
    assert said[2:] == ["left/right", "Niere, größer", "two lines"]
    assert len(set(said)) == 5
    assert max(map(len, said)) <= 64
    codes = [str(one.SegmentedPropertyTypeCodeSequence[0].CodeValue) for one in segments]
    assert len(set(codes)) == 5
    assert max(map(len, codes)) <= 16
    assert all(code.isprintable() for code in codes)


def test_more_structures_than_a_byte_counts(tmp_path: Path) -> None:
    folder = series(tmp_path / "series")
    structures = tuple(Structure(f"part {value}", value, (9, 9, 9)) for value in range(1, 301))
    made = np.zeros((COLUMNS, ROWS, SLICES), np.uint16)
    made[3:5, 4, 6], made[8, 9, 6] = 300, 44  # 44 is what a byte would have of 300
    subject = Subject(read_source(folder), number_frames(made, structures), structures, ORIGIN)
    write_segmentation(tmp_path / "a.seg.dcm", subject)
    write_structure_set(tmp_path / "a.rtstruct.dcm", subject)
    seg = highdicom.seg.segread(tmp_path / "a.seg.dcm")
    volume = seg.get_volume(combine_segments=True, allow_missing_positions=True).array
    values, counts = np.unique(volume[volume > 0], return_counts=True)
    assert dict(zip(values.tolist(), counts.tolist(), strict=True)) == {44: 1, 300: 2}
    rois = pydicom.dcmread(tmp_path / "a.rtstruct.dcm").ROIContourSequence
    assert [roi.ReferencedROINumber for roi in rois if "ContourSequence" in roi] == [44, 300]


def test_codes_are_those_of_snomed() -> None:
    """A few by hand, as TotalSegmentator published them."""
    published = {
        "kidney_left": ("64033007", "7771000"),
        "right_adrenal_gland": ("23451007", "24028007"),
        "liver": ("10200004", None),
        "spleen": ("78961009", None),
        "pancreas": ("15776009", None),
        "oesophagus": ("32849002", None),
        "postcava": ("64131007", None),
        "urinary_bladder": ("89837001", None),
        "lung_upper_lobe_left": ("45653009", "7771000"),
        "heart_ventricle_left": ("87878005", None),
        "vertebrae_L3": ("36470004", None),
        "hippocampus": ("5366008", None),
        "cyst": ("367643001", None),
    }
    for name, (value, side) in published.items():
        coding = code_of(name)
        assert (coding.kind.scheme_designator, coding.kind.value) == ("SCT", value), name
        assert (coding.side.value if coding.side else None) == side, name
    strange = ("brain 肿瘤", "Μεγάλη aorta", "lung_nódulo")  # not only what is ASCII of them
    for name in ("prostate_uterus", "vertebrae_C9", "left_aorta", "anterior", "12", *strange):
        assert code_of(name).kind.scheme_designator == "99MEDNEXT", name


def test_every_name_of_the_tables_is_in_the_dictionary() -> None:
    from pydicom.sr.codedict import codes

    from mednext_cli.volumes.formats import dicom_codes

    tables = (dicom_codes._SIDED, dicom_codes._WHOLE, dicom_codes._ABNORMAL)
    known = set(codes.SCT.dir())
    assert all(set(table.values()) <= known for table in tables)
