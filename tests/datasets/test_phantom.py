import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.datasets.phantom.canvas import Blob, Canvas
from mednext_cli.datasets.phantom.write import PhantomSpec, phantom
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "raw"
    phantom(PhantomSpec(folder, cases=8, seed=0))
    return folder


def _load(folder: Path, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    case = folder / f"case_{index:05d}"
    image = nibabel.load(case / "imaging.nii.gz")
    label = nibabel.load(case / "segmentation.nii.gz")
    np.testing.assert_allclose(label.affine, image.affine, atol=1e-4)
    return np.asarray(image.dataobj), np.asarray(label.dataobj), image.affine


def test_layout_reads_them(phantoms: Path) -> None:
    dataset = read_dataset(phantoms, "kits19")
    assert len(dataset.labelled) == 8


@pytest.mark.slow
def test_bytes_depend_on_seed_and_number_alone(phantoms: Path, tmp_path: Path) -> None:
    phantom(PhantomSpec(tmp_path / "raw", cases=2, seed=0, workers=1))
    phantom(PhantomSpec(tmp_path / "other", cases=2, seed=1))
    for name in ("imaging.nii.gz", "segmentation.nii.gz"):
        file = Path("case_00001") / name
        assert (phantoms / file).read_bytes() == (tmp_path / "raw" / file).read_bytes()
        assert (phantoms / file).read_bytes() != (tmp_path / "other" / file).read_bytes()


def test_densities_are_those_of_a_ct(phantoms: Path) -> None:
    for index in range(8):
        image, label, _ = _load(phantoms, index)
        assert image.dtype == np.int16
        assert np.percentile(image, 2) < -950  # air around the body
        assert 130 < np.median(image[label == 1]) < 230  # late arterial phase
        assert 380 < image.max() < 1000  # bone
        if (label == 2).any():
            assert 20 < np.median(image[label == 2]) < 130


def test_another_scanner_sees_the_same_patients_otherwise(phantoms: Path, tmp_path: Path) -> None:
    raw = tmp_path / "venous"
    assert main(["phantom", str(raw), "--cases", "1", "--scanner", "venous", "--workers", "0"]) == 0
    image, label, _ = _load(phantoms, 0)
    other, same, _ = _load(raw, 0)
    np.testing.assert_array_equal(same, label)
    kidney = label == 1
    assert np.median(other[kidney]) < np.median(image[kidney]) - 10
    with pytest.raises(DatasetError, match="another seed, shape, scanner"):
        phantom(PhantomSpec(raw, cases=1))


def test_two_kidneys_of_human_size_in_every_case(phantoms: Path) -> None:
    for index in range(8):
        _, label, affine = _load(phantoms, index)
        voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
        at = np.argwhere(label == 1) @ affine[:3, :3].T + affine[:3, 3]
        right = at[:, 0] > np.median(at[:, 0].reshape(-1)) if len(at) else at
        assert 60 < np.count_nonzero(right) * voxel_ml < 300
        assert 60 < np.count_nonzero(~right) * voxel_ml < 300


def test_tumours_in_most_not_all(phantoms: Path) -> None:
    tumours = [(_load(phantoms, index)[1] == 2).any() for index in range(8)]
    assert 5 <= sum(tumours) < 8


def test_grids_vary_as_in_the_clinic(phantoms: Path) -> None:
    affines = [_load(phantoms, index)[2] for index in range(8)]
    thickness = {round(float(np.linalg.norm(affine[:3, 0])), 3) for affine in affines}
    assert thickness == {1.0, 2.0, 3.0, 4.0, 5.0}
    first = affines[0][:3, :3]
    assert np.count_nonzero(first) == 3  # as KiTS19: slices downwards, rows back, columns left
    assert first[2, 0] < 0
    assert first[1, 1] < 0
    assert first[0, 2] < 0
    oblique = [np.count_nonzero(affine[:3, :3]) > 3 for affine in affines]
    assert 2 <= sum(oblique) <= 6
    assert len({nibabel.aff2axcodes(affine) for affine in affines}) > 3


def test_some_labels_carry_their_orientation_in_the_qform_only(phantoms: Path) -> None:
    codes = []
    for index in range(8):
        header = nibabel.load(phantoms / f"case_{index:05d}" / "segmentation.nii.gz").header
        codes.append((int(header["sform_code"]), int(header["qform_code"])))
    assert set(codes) == {(2, 0), (0, 1)}


def test_drawing_does_not_depend_on_the_grid() -> None:
    """A ball has its volume at its place, whatever the orientation."""
    blob = Blob((10.0, -5.0, 3.0), (20.0, 15.0, 25.0))
    true_ml = 4 / 3 * np.pi * 20 * 15 * 25 / 1000
    turn = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    for linear in (np.diag([2.0, 1.5, 3.0]), turn @ np.diag([1.5, -2.0, 2.0])[:, [2, 0, 1]]):
        shape = (60, 70, 65)
        affine = np.eye(4)
        affine[:3, :3] = linear
        affine[:3, 3] = -linear @ (np.array(shape) / 2)
        canvas = Canvas(shape, affine)
        canvas.fill(blob, 0.0)
        inside = np.argwhere(canvas.hu == 0.0)
        volume = len(inside) * abs(np.linalg.det(linear)) / 1000
        assert volume == pytest.approx(true_ml, rel=0.03)
        centre = (inside @ linear.T + affine[:3, 3]).mean(axis=0)
        np.testing.assert_allclose(centre, (10.0, -5.0, 3.0), atol=0.5)


def test_command_with_shape(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "raw"
    assert main(["phantom", str(raw), "--cases", "1", "--shape", "12,40,48"]) == 0
    assert "12 x 40 x 48" in capsys.readouterr().out
    assert nibabel.load(raw / "case_00000" / "imaging.nii.gz").shape == (12, 40, 48)


def test_run_again_keeps_what_is_there(tmp_path: Path) -> None:
    spec = PhantomSpec(tmp_path / "raw", cases=1, shape=(10, 32, 32))
    first = phantom(spec)
    image = spec.folder / "case_00000" / "imaging.nii.gz"
    written = image.stat().st_mtime_ns
    assert phantom(spec) == first
    assert image.stat().st_mtime_ns == written
    image.unlink()
    assert phantom(spec) == first
    assert image.exists()


def test_refuses_a_folder_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "case_00000").mkdir()
    assert main(["phantom", str(tmp_path)]) == 2
    assert "is not empty and holds no phantoms" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["case_00000"]


def test_refuses_another_seed_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "phantom.json").write_text(json.dumps({"version": 1, "seed": 5, "shape": None}))
    with pytest.raises(DatasetError, match="another seed"):
        phantom(PhantomSpec(tmp_path, cases=1))


@pytest.mark.parametrize("shape", ["1,2", "a,b,c", "4,96,96", "99999,96,96", "-5,96,96"])
def test_wrong_shape(tmp_path: Path, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["phantom", str(tmp_path / "raw"), f"--shape={shape}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --shape {shape}")
    assert error.count("\n") == 1
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("record", ["{}", "[", "", '{"case": 1}'])
def test_a_case_whose_record_is_damaged_is_drawn_again(
    tmp_path: Path, record: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["phantom", str(tmp_path / "raw"), "--cases", "1", "--shape", "8,16,16", "-q"]
    assert main(call) == 0
    first = capsys.readouterr().out
    path = tmp_path / "raw" / "case_00000" / ".phantom.json"
    path.write_text(record)
    assert main(call) == 0
    assert capsys.readouterr().out == first
    assert json.loads(path.read_text())["case"] == "case_00000"
