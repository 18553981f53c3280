"""Headers that nibabel refuses, repairs or leaves open, through the commands."""

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes import scans
from mednext_cli.volumes.scans import read_grid, read_label_map, read_volume
from tests.inference.synthetic import predict, save_model
from tests.volumes.headers import OBLIQUE, SPACING, VOXELS, affine_of, itk_grid, write_header

Captured = pytest.CaptureFixture[str]
GOOD = affine_of((1, 0, 2), (-1, 1, 1), OBLIQUE)
BOTH: dict[str, Any] = {"sform": (GOOD, 2), "qform": (GOOD, 1)}
SFORM: dict[str, Any] = {"sform": (GOOD, 2)}
UPRIGHT = np.diag([*SPACING, 1.0]) * [
    [1],
    [-1],
    [-1],
    [1],
]  # half a turn: the quaternion is 1, 0, 0
# What is wrong: forms and fields of the header, the note, and the affine if not GOOD.
FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, np.ndarray | None]] = {
    "nothing": (BOTH, {}, "", None),
    "quaternion too long": (BOTH, {"quatern_b": 0.9, "quatern_c": 0.9}, "no rotation", None),
    "quaternion NaN": (BOTH, {"quatern_c": np.nan}, "qform describes no rotation", None),
    "quaternion a little too long": (
        {"qform": (UPRIGHT, 1)}, {"quatern_b": 1 + 1e-6}, "", UPRIGHT,
    ),
    "offset NaN": (BOTH, {"qoffset_x": np.nan}, "qform describes no rotation", None),
    "sform NaN": (BOTH, {"srow_y": np.nan}, "the sform describes no grid; the qform is used", None),
    "sform zero": (BOTH, {"srow_z": 0}, "the sform describes no grid; the qform is used", None),
    "negative sform code": (BOTH, {"sform_code": -1, "srow_x": 0}, "", None),
    "negative qform code": (BOTH, {"qform_code": -3, "qoffset_x": 99}, "", None),
    "large code": (SFORM, {"sform_code": 1000}, "", None),
    "pixdim": (SFORM, {"pixdim": (2, 1, 1)}, "pixdim says 2 x 1 x 1 mm, the sform 0.7 x 0.8", None),
    "qfac 0": (BOTH, {"qfac": 0}, "", None),
    "qfac nonsense": (SFORM, {"qfac": 0.3}, "", None),
    "offset 0": (BOTH, {"vox_offset": 0}, "vox_offset is 0, within the header", None),
    "offset 348": (BOTH, {"vox_offset": 348}, "vox_offset is 348, within the header", None),
    "offset a fraction": (BOTH, {"vox_offset": 352.9}, "", None),
    "slope 0": (BOTH, {"scl_slope": 0, "scl_inter": 7}, "", None),
    "slope NaN": (BOTH, {"scl_slope": np.nan}, "", None),
    "slope infinite": (BOTH, {"scl_slope": np.inf}, "", None),
    "unit reserved": (BOTH, {"xyzt_units": 5 + 56 + 64}, "", None),
    "unit unknown": (BOTH, {"xyzt_units": 0}, "", None),
    "no sizeof_hdr": (BOTH, {"sizeof_hdr": 0}, "", None),
    "intent": (BOTH, {"intent_code": 1002, "intent_name": b"Label"}, "", None),
}  # fmt: skip


def fault(path: Path, name: str) -> Path:
    forms, fields, _, _ = FAULTS[name]
    return write_header(path, **forms, fields=fields)


@pytest.mark.parametrize("name", FAULTS)
def test_read_as_the_scan_that_is_meant(tmp_path: Path, name: str) -> None:
    path = fault(tmp_path / "scan.nii.gz", name)
    expected = FAULTS[name][3]
    assert np.allclose(read_grid(path).affine, GOOD if expected is None else expected, atol=1e-4)
    assert np.array_equal(read_volume(path).array, VOXELS)
    assert np.array_equal(read_label_map(path).array, VOXELS)


@pytest.mark.slow
def test_predict_does_them_all(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("SimpleITK")
    for name in FAULTS:
        fault(tmp_path / "scans" / f"{name}.nii.gz", name)
    write_header(tmp_path / "scans" / "neither.nii.gz")
    write_header(tmp_path / "scans" / "neither, negative.nii.gz", fields={
        "sform_code": -1, "qform_code": -1})  # fmt: skip
    out = tmp_path / "out"
    assert predict(tmp_path / "scans", out, save_model(tmp_path / "m.pt", 0)) == 0
    said = capsys.readouterr()
    assert f"{len(FAULTS) + 2} made" in said.out
    assert said.err.count("neither sform nor qform is set") == 2
    for name, (_, _, note, _) in FAULTS.items():
        assert note in said.err
        scan, label = tmp_path / "scans" / f"{name}.nii.gz", out / f"{name}.nii.gz"
        assert read_grid(label).same_as(read_grid(scan), 1e-3)
        assert nibabel.load(label).header.get_xyzt_units()
        by_itk, found = itk_grid(scan), itk_grid(label)
        assert found is not None
        if by_itk is None or not np.isfinite(by_itk).all():
            by_itk = read_grid(scan).affine
        assert np.allclose(found, by_itk, atol=1e-4)


@pytest.mark.parametrize(("unit", "code", "scale"), [("microns", 3, 1e3), ("metres", 1, 1e-3)])
@pytest.mark.parametrize("form", ["sform", "qform", "neither"])
def test_units(tmp_path: Path, unit: str, code: int, scale: float, form: str) -> None:
    """Read in millimetres; a label map has the scan's numbers and the scan's unit."""
    path, twin, out = (tmp_path / f"{name}.nii.gz" for name in ("scan", "twin", "label"))
    affine = np.diag([scale, scale, scale, 1]) @ GOOD
    write_header(twin, **({} if form == "neither" else {form: (GOOD, 1)}), fields={"xyzt_units": 2})
    forms: dict[str, Any] = {} if form == "neither" else {form: (affine, 1)}
    fields = {"xyzt_units": code, "pixdim": np.array(SPACING) * scale}
    write_header(path, **forms, fields=fields)
    assert read_grid(path).same_as(read_grid(twin), 1e-3)
    assert any(f"measures in {unit}" in note for note in scans.format_of(path).notes(path))
    scans.write_label_map(out, VOXELS % 3, path)
    made, expected = nibabel.load(out), nibabel.load(path)
    assert np.allclose(made.affine, expected.affine, rtol=1e-5)
    assert int(made.header["xyzt_units"]) == code
    assert read_grid(out).same_as(read_grid(path), 1e-3)


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "no form": ({"sform": (GOOD, 1)}, {"srow_x": np.nan}, "spacing of nan"),
    "no plane": ({"sform": (GOOD, 1)}, {"srow_x": 0}, "describes no grid"),
    "no rotation": ({"qform": (GOOD, 1)}, {"quatern_b": 3}, "describes no grid"),
    "offset": (BOTH, {"vox_offset": np.nan}, "vox_offset is nan"),
    "negative offset": (BOTH, {"vox_offset": -8}, "vox_offset is -8"),
    "far offset": (BOTH, {"vox_offset": 1e30}, "damaged"),
    "intercept": (BOTH, {"scl_slope": 2, "scl_inter": np.inf}, "an intercept (scl_inter) of inf"),
    "pixdim": (BOTH, {"pixdim": (1, np.nan, 1)}, "spacing of 1 x nan x 1 mm"),
    "negative pixdim": (BOTH, {"pixdim": (1, -1, 1)}, "spacing of 1 x -1 x 1 mm"),
    "bits": (BOTH, {"datatype": 1}, "single bits"),
    "no axes": (BOTH, {"dim": (0, 5, 6, 7, 1, 1, 1, 1)}, "is not 3D: its shape is 0"),
    "five axes": (BOTH, {"dim": (5, 5, 3, 7, 1, 2, 1, 1)}, "is not 3D: its shape is 5 x 3 x 7 x 2"),
    "no length": (BOTH, {"dim": (3, 5, 0, 7, 1, 1, 1, 1)}, "is not 3D: its shape is 5 x 0 x 7"),
    "no magic": (BOTH, {"magic": b"n-1"}, "damaged, cut off or no NIfTI file"),
}  # fmt: skip


def test_one_line_each_and_the_others_are_done(tmp_path: Path, capsys: Captured) -> None:
    for name, (forms, fields, _) in REFUSED.items():
        write_header(tmp_path / "scans" / f"{name}.nii.gz", **forms, fields=fields)
    fault(tmp_path / "scans" / "good.nii.gz", "nothing")
    assert predict(tmp_path / "scans", tmp_path / "out", save_model(tmp_path / "m.pt", 0)) == 2
    said = capsys.readouterr().err
    assert (tmp_path / "out" / "good.nii.gz").is_file()
    for name, (_, _, reason) in REFUSED.items():
        lines = [line for line in said.splitlines() if f"{name}.nii.gz" in line]
        assert any(reason in line for line in lines), (name, lines)
    assert "fault of ours" not in said


def test_channels_as_itk_writes_them_along_a_fifth_axis(tmp_path: Path) -> None:
    voxels = np.stack([VOXELS, -VOXELS], axis=-1)[:, :, :, None]
    path = write_header(tmp_path / "scan.nii.gz", **BOTH, voxels=voxels)
    assert np.array_equal(read_volume(path, 1).array, -VOXELS)


@pytest.mark.parametrize(("name", "packed"), [("a.nii.gz", False), ("a.nii", True)])
def test_the_content_tells_whether_it_is_compressed(
    tmp_path: Path, name: str, packed: bool
) -> None:
    plain = write_header(tmp_path / "plain.nii", **BOTH).read_bytes()
    (tmp_path / "scans").mkdir()
    path = tmp_path / "scans" / name
    path.write_bytes(gzip.compress(plain) if packed else plain)
    assert np.array_equal(read_volume(path).array, VOXELS)
    assert np.array_equal(read_label_map(path).array, VOXELS)
    assert predict(tmp_path / "scans", tmp_path / "out", save_model(tmp_path / "m.pt", 0)) == 0


def test_a_pair_is_read_by_either_name_packed_or_not(tmp_path: Path) -> None:
    whole = write_header(tmp_path / "plain.nii", **BOTH).read_bytes()
    header = bytearray(whole[:348])
    header[108:112] = np.float32(0).tobytes()
    header[344:348] = b"ni1\0"
    for stem, pack in (("a", bytes), ("b", gzip.compress)):
        ending = ".gz" if stem == "b" else ""
        (tmp_path / f"{stem}.hdr{ending}").write_bytes(pack(bytes(header)))
        (tmp_path / f"{stem}.img{ending}").write_bytes(pack(whole[352:]))
        for part in ("hdr", "img"):
            made = read_volume(tmp_path / f"{stem}.{part}{ending}")
            assert np.array_equal(made.array, VOXELS)
            assert np.allclose(made.affine, GOOD, atol=1e-4)
    (tmp_path / "a.img").unlink()
    with pytest.raises(ScanError, match=r"half of a pair: a\.img is not there"):
        read_volume(tmp_path / "a.hdr")
    (tmp_path / "a.img").write_bytes(whole[352:])
    header[344:348] = bytes(4)
    (tmp_path / "a.hdr").write_bytes(header)
    with pytest.raises(ScanError, match="perhaps Analyze, which does not say left from right"):
        read_volume(tmp_path / "a.hdr")


LABELS = np.zeros((6, 5, 4))
LABELS[1:3], LABELS[3:5] = 1, 2


def scaled(path: Path, labels: np.ndarray, dtype: str, slope: float, inter: float = 0.0) -> Path:
    """Labels stored as whole numbers that a slope brings back, to the nearest step."""
    image = nibabel.Nifti1Image(np.rint((labels - inter) / slope).astype(dtype), np.eye(4))
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name("plain.nii")
    nibabel.save(image, plain)
    content = bytearray(plain.read_bytes())
    content[112:120] = np.array([slope, inter], "<f4").tobytes()
    plain.unlink()
    path.write_bytes(gzip.compress(bytes(content)))
    return path


@pytest.mark.parametrize(
    ("dtype", "slope", "inter"),
    [
        ("u2", 3.0518e-5, 0.0), ("u1", 1 / 255, 0.0), ("u1", 0.99999994, 0.0), ("u2", 0.0003, 0.0),
        ("u1", 2 / 255, 0.0), ("i2", 3.0520e-5, 1.0), ("u1", 0.047, 0.0),
    ],
)  # fmt: skip
def test_labels_that_are_whole_but_for_the_scaling_s_rounding(
    tmp_path: Path, dtype: str, slope: float, inter: float
) -> None:
    labels = LABELS if (dtype, slope) != ("u1", 1 / 255) else np.minimum(LABELS, 1)
    path = scaled(tmp_path / "label.nii.gz", labels, dtype, slope, inter)
    assert np.array_equal(read_label_map(path).array, labels)


@pytest.mark.parametrize("factor", [0.99999994, 1.0000001, 1 - 1e-16])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_labels_that_are_whole_but_for_single_precision(
    tmp_path: Path, dtype: str, factor: float
) -> None:
    path = tmp_path / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image((LABELS * 100 * factor).astype(dtype), np.eye(4)), path)
    assert np.array_equal(read_label_map(path).array, LABELS * 100)


def make_dataset(raw: Path, label: Any) -> Path:
    noise = np.random.default_rng(0).normal(100, 20, LABELS.shape).astype(np.float32)
    (raw / "images").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), raw / "images" / "a.nii.gz")
    label(raw / "labels" / "a.nii.gz")
    return raw


def test_rounding_is_said(tmp_path: Path, capsys: Captured) -> None:
    raw = make_dataset(tmp_path / "raw", lambda path: scaled(path, LABELS, "u2", 3.0518e-5))
    call = [str(raw), "--dataset", "folder", "--workers", "0"]
    assert main(["datasets", "verify", *call]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "a.nii.gz: values up to 1.4e-05 beside a whole number are rounded" in shown
    assert main(["preprocess", *call, "--cache", str(tmp_path / "cache")]) == 0
    assert "beside a whole number are rounded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "value"),
    [
        ("u1", 0.5, 0.0, 0.5),
        ("u1", 1.0, 0.2, 0.2),
        ("u2", 3.0518e-5, 0.0, 0.001),
        ("u1", 1 / 255, 0.0, 0.02),
        ("u1", 0.4, 0.0, 0.4),
    ],
)
def test_interpolated_labels_are_still_refused(
    tmp_path: Path, dtype: str, slope: float, inter: float, value: float, capsys: Captured
) -> None:
    labels = LABELS.copy()
    labels[0, 0, 0] = value
    raw = make_dataset(
        tmp_path / "raw", lambda path: scaled(path, labels, dtype, slope, inter)
    )  # fmt: skip
    assert main(["datasets", "verify", str(raw), "--dataset", "folder", "--workers", "0"]) == 2
    assert "not a whole number" in " ".join(capsys.readouterr().err.split())


LONG = "x" * 300


def test_names_that_no_file_can_have(tmp_path: Path, capsys: Captured) -> None:
    """On reading: one line that names it, not a fault of ours."""
    raw = make_dataset(tmp_path / "raw", lambda path: scaled(path, LABELS, "u1", 1.0))
    model = save_model(tmp_path / "m.pt", 0)
    for ending in (".nii.gz", ".nrrd", ".mgz", ".hdr", ""):
        assert predict(tmp_path / f"{LONG}{ending}", tmp_path / "out", model) == 2
    for call in (
        ["predict", str(raw / "images"), "--model", str(tmp_path / LONG), "--out", str(tmp_path)],
        ["predict", str(raw / "images"), "--model", str(model), "--out", str(tmp_path / LONG)],
        ["evaluate", str(tmp_path / LONG), str(raw / "labels"), "--out", str(tmp_path / "scores")],
        ["datasets", "verify", str(tmp_path / LONG), "--dataset", "folder"],
    ):
        assert main(call) == 2
    said = capsys.readouterr().err
    assert said.count(LONG) == 9
    assert "fault of ours" not in said
    for ending in (".nii.gz", ".nrrd", ".mgz", ".hdr", ""):
        with pytest.raises(ScanError, match=r"does not exist|holds no"):
            scans.read_volume(tmp_path / f"{LONG}{ending}")
