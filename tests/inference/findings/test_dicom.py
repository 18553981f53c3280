"""mednext predict --dicom-seg and --rtstruct: what is written when, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import StorageError
from mednext_cli.inference.findings import dicom
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.datasets.conftest import write_series
from tests.inference.synthetic import predict, save_model

pydicom = pytest.importorskip("pydicom", reason="needs the extra dicom")
highdicom = pytest.importorskip("highdicom", reason="needs the extra dicom")
BOTH = ("--dicom-seg", "--rtstruct")
KINDS = ("seg", "rtstruct")


def make_series(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Sagittal, anisotropic, and mostly air around: it is turned, resampled and cropped."""
    stored = np.zeros((26, 20, 14), np.int16)
    stored[4:22, 3:18, 2:13] = np.random.default_rng(seed).normal(100, 40, (18, 15, 11))
    told = {
        "ImageOrientationPatient": [0, 1, 0, 0, 0, -1],
        "ImagePositionPatient": lambda number: [30 - 3.0 * number, -12.5, 40],
        "StudyInstanceUID": "1.2.3",
        "FrameOfReferenceUID": f"1.2.4.{seed}",
        "PatientID": f"patient {seed}",
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
    }
    return write_series(folder, stored, (1.5, 1.1, 3.0), **{**told, **changes})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with one series, ``images/a``."""
    make_series(tmp_path / "images" / "a")
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bright voxels are kidney, dark ones tumour, at no cost; a number for every call."""
    made: list[int] = []

    def by_brightness(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        made.append(len(tiles))
        return torch.cat([0 * tiles, tiles - 0.5, -tiles - 0.5], dim=1)

    monkeypatch.setattr(NetworkEngine, "__call__", by_brightness)
    return made


def objects(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / "dicom").iterdir()}


def check_objects(out: Path, name: str) -> Any:
    """Both objects are the label map, where it lies; gives the segmentation."""
    labels = nib.load(out / f"{name}.nii.gz")
    expected = np.asarray(labels.dataobj)
    assert set(np.unique(expected)) == {0, 1, 4}
    seg = highdicom.seg.segread(out / "dicom" / f"{name}.seg.dcm")
    assert [one.SegmentLabel for one in seg.SegmentSequence] == ["kidney", "tumour"]
    volume = seg.get_volume(combine_segments=True, allow_missing_positions=True)
    places = np.argwhere(volume.array)
    lps = places @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    ras = lps * [-1, -1, 1]
    voxels = (ras - labels.affine[:3, 3]) @ np.linalg.inv(labels.affine[:3, :3]).T
    np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-3)
    found = np.zeros_like(expected)
    found[tuple(np.rint(voxels).astype(int).T)] = np.array([0, 1, 4])[
        volume.array[volume.array > 0]
    ]
    np.testing.assert_array_equal(found, expected)
    return seg


def test_both_are_the_label_map_on_the_grid_of_the_series(
    images: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(images, out, model, options=BOTH) == 0
    assert check_objects(out, "a").PatientID == "patient 0"
    structures = pydicom.dcmread(out / "dicom" / "a.rtstruct.dcm")
    drawn = [len(roi.ContourSequence) for roi in structures.ROIContourSequence]
    assert min(drawn) >= 5


REAL = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize("of_package", ["CT_small.dcm", "dicomdirtests/98892001/CT5N"])
def test_scanners_own_headers_are_taken_over(of_package: str, model: Path, tmp_path: Path) -> None:
    """A slice, and five with what GE's CT wrote of them; of few voxels, in pydicom's package."""
    series = tmp_path / "images" / "a"
    series.mkdir(parents=True)
    source = REAL / of_package
    for path in [source] if source.is_file() else source.iterdir():
        shutil.copy(path, series / path.name)
    assert predict(tmp_path / "images", tmp_path / "out", model, options=BOTH) == 0
    seg = check_objects(tmp_path / "out", "a")
    first = pydicom.dcmread(next(series.iterdir()))
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert seg[name].value == first[name].value, name


@pytest.mark.parametrize(
    ("of_package", "said"),
    [
        ("dicomdirtests/77654033/CT2", "two slices in one place"),
        ("dicomdirtests/98892003/MR700", "has another orientation than"),
        ("dicomdirtests/98892001/CT2N", "a localizer"),
    ],
)
def test_real_series_that_are_no_volume_are_named(
    of_package: str, said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(REAL / of_package, tmp_path / "images" / "a")
    assert predict(tmp_path / "images", tmp_path / "out", model, options=BOTH) == 2
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_they_are_made_later_and_lost_ones_again_without_networks(
    images: Path, model: Path, tmp_path: Path, calls: list[int]
) -> None:
    out, at_once = tmp_path / "out", tmp_path / "at_once"
    assert predict(images, out, model) == 0
    asked = len(calls)
    assert predict(images, out, model, options=BOTH) == 0
    first = objects(out)
    assert set(first) == {"a.seg.dcm", "a.rtstruct.dcm"}
    (out / "dicom" / "a.seg.dcm").unlink()
    assert predict(images, out, model, options=BOTH) == 0
    assert objects(out) == first
    assert len(calls) == asked
    assert predict(images, at_once, model, options=BOTH) == 0
    assert objects(at_once) == first


@pytest.mark.slow
def test_another_seed_makes_other_uids_without_networks(
    images: Path, model: Path, tmp_path: Path, calls: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    out, seeded = tmp_path / "out", (*BOTH, "--uid-seed", "second")
    assert predict(images, out, model, options=BOTH) == 0
    first, asked = objects(out), len(calls)
    assert predict(images, out, model, options=seeded) == 0
    second = objects(out)
    assert first["a.seg.dcm"] != second["a.seg.dcm"]
    assert first["a.rtstruct.dcm"] != second["a.rtstruct.dcm"]
    capsys.readouterr()
    assert predict(images, out, model, options=seeded) == 0
    assert "0 made, 1 kept" in capsys.readouterr().out
    assert predict(images, out, model, options=("--dicom-seg",)) == 0
    mixed = objects(out)
    assert mixed["a.seg.dcm"] == first["a.seg.dcm"]
    assert mixed["a.rtstruct.dcm"] == second["a.rtstruct.dcm"]
    assert len(calls) == asked
    seeds = json.loads((out / "predict.json").read_text())["cases"]["a"]["uid_seeds"]
    assert seeds == {"seg": "", "rtstruct": "second"}


@pytest.mark.slow
def test_a_kill_between_writing_and_noting_leaves_no_seed_that_is_not_the_files(
    images: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert predict(images, out, model, options=("--dicom-seg",)) == 0
    first = objects(out)

    def killed(record: PredictionRecord, case: Case) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PredictionRecord, "note_described", killed)
        assert predict(images, out, model, options=("--dicom-seg", "--uid-seed", "other")) == 130
    assert objects(out) != first
    assert predict(images, out, model, options=("--dicom-seg",)) == 0
    assert objects(out) == first


@pytest.mark.slow
def test_those_of_an_older_label_map_go(images: Path, model: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    assert predict(images, out, model, options=BOTH) == 0
    assert predict(images, out, other, options=("--force", "--rtstruct")) == 0
    assert set(objects(out)) == {"a.rtstruct.dcm"}


def test_other_scans_are_refused_before_anything_is_computed(
    images: Path, model: Path, tmp_path: Path, calls: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    nib.save(nib.Nifti1Image(np.ones((9, 9, 9), np.int16), np.eye(4)), images / "b.nii.gz")
    out = tmp_path / "out"
    for option in BOTH:
        assert predict(images, out, model, options=(option,)) == 2
        said = capsys.readouterr().err
        assert f"{option} needs DICOM series, and b is from" in said
        assert len(said.strip().splitlines()) == 1
    assert not calls
    assert not out.exists()
    assert predict(images, out, model, options=(*BOTH, "--cases", "a")) == 0


def test_what_is_missing_or_useless_is_said(
    images: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    assert predict(images, out, model, options=("--uid-seed", "x")) == 2
    assert "--uid-seed is for --dicom-seg and --rtstruct" in capsys.readouterr().err
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    assert predict(images, out, model, options=("--dicom-seg",)) == 2
    assert "needs highdicom, which is not installed. pip install" in capsys.readouterr().err
    assert not out.exists()


def test_a_series_without_a_frame_of_reference_fails_alone_and_early(
    images: Path, model: Path, tmp_path: Path, calls: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(images / "a")
    make_series(images / "bare", FrameOfReferenceUID="")
    out = tmp_path / "out"
    assert predict(images, out, model, options=BOTH) == 2
    assert "has no FrameOfReferenceUID" in capsys.readouterr().err
    assert not calls
    make_series(images / "good", seed=1)
    assert predict(images, out, model, options=BOTH) == 2
    assert set(objects(out)) == {"good.seg.dcm", "good.rtstruct.dcm"}


def test_a_failure_half_way_leaves_nothing_half_written(
    images: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"

    def full(path: Path, subject: object) -> None:
        raise StorageError(f"{path} cannot be written: no space left on device")

    with monkeypatch.context() as patch:
        patch.setitem(dicom._WRITE, "rtstruct", full)
        assert predict(images, out, model, options=BOTH) == 2
    assert "no space left" in capsys.readouterr().err
    assert not (out / "a.nii.gz").exists()
    assert predict(images, out, model, options=BOTH) == 0
    assert set(objects(out)) == {"a.seg.dcm", "a.rtstruct.dcm"}
    assert (out / "a.nii.gz").is_file()
