"""Odd but usable scans through the commands: checked, cached and, some, predicted."""

import csv
import os
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from tests.datasets.conftest import write_scan, write_series
from tests.inference.synthetic import predict, save_model

Captured = pytest.CaptureFixture[str]
LABEL = np.zeros((20, 18, 16), np.uint8)
LABEL[4:10, 5:12, 3:12] = 1
NOISE = np.random.default_rng(0).normal(100, 20, LABEL.shape).astype(np.int16)
AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])


def make(raw: Path, image: np.ndarray = NOISE, label: np.ndarray = LABEL, affine=AFFINE) -> Path:
    write_scan(raw / "images" / "a.nii.gz", image, affine)
    write_scan(raw / "labels" / "a.nii.gz", label, affine)
    return raw


def check_and_preprocess(raw: Path, *options: str) -> np.ndarray:
    """Both commands must succeed; gives the cached classes."""
    call = [str(raw), "--dataset", "folder", "--workers", "0"]
    assert main(["datasets", "verify", *call, "-q"]) == 0
    cache = raw.parent / "cache"
    assert main(["preprocess", *call, "--cache", str(cache), *options]) == 0
    cached = open_cache(cache / raw.name)
    return cached.case(cached.case_ids[0]).read_label()


def turned_by(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine @ AFFINE


def sheared() -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = 0.4
    return affine


@pytest.mark.parametrize(
    "affine",
    [np.diag([-1.0, 1, 1.5, 1]), turned_by(30), turned_by(45), sheared()],
    ids=["left-handed", "oblique", "half-way between two axes", "sheared"],
)
def test_affines(tmp_path: Path, affine: np.ndarray, capsys: Captured) -> None:
    raw = make(tmp_path / "raw", affine=affine)
    classes = check_and_preprocess(raw, "--spacing", "median")
    assert np.count_nonzero(classes) == np.count_nonzero(LABEL)
    assert ("sheared" in capsys.readouterr().err) == bool(affine[1, 2])


def test_label_stored_in_another_order_than_the_image(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    straight = check_and_preprocess(raw)
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = LABEL.shape[0] - 1
    turned = (AFFINE @ flip)[:, [2, 0, 1, 3]]
    write_scan(raw / "labels" / "a.nii.gz", LABEL[::-1].transpose(2, 0, 1), turned)
    assert np.array_equal(check_and_preprocess(raw), straight)


def test_scaled_integers(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    image = nibabel.Nifti1Image(NOISE, AFFINE)
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, raw / "images" / "a.nii.gz")
    label = nibabel.Nifti1Image(LABEL.astype(np.int16), AFFINE)
    label.header.set_slope_inter(1.0, 0.0)
    nibabel.save(label, raw / "labels" / "a.nii.gz")
    assert check_and_preprocess(raw, "--modality", "ct").max() == 1


@pytest.mark.parametrize("dtype", ["<i4", "<u2", ">i2", "<f8"])
def test_types_of_labels(tmp_path: Path, dtype: str) -> None:
    assert check_and_preprocess(make(tmp_path / "raw", label=LABEL.astype(dtype))).max() == 1


@pytest.mark.parametrize("shape", [(40, 40, 1), (1, 40, 40), (8, 8, 1000)])
def test_one_slice_and_a_thousand(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(100, 20, shape).astype(np.int16)
    label = np.zeros(shape, np.uint8)
    label[tuple(slice(0, max(1, length // 2)) for length in shape)] = 1
    classes = check_and_preprocess(make(tmp_path / "raw", noise, label, np.eye(4)))
    assert sorted(classes.shape) == sorted(shape)
    assert np.count_nonzero(classes) == np.count_nonzero(label)


def test_spaces_and_other_letters_in_paths(tmp_path: Path) -> None:
    raw = make(tmp_path / "Größe 数据" / "röh daten")
    for folder in ("images", "labels"):
        (raw / folder / "a.nii.gz").rename(raw / folder / "Fall é 1.nii.gz")
    assert check_and_preprocess(raw).max() == 1


def test_symbolic_links_out_of_the_folder(tmp_path: Path) -> None:
    """Links are followed wherever they lead: whoever linked a file meant to."""
    raw = make(tmp_path / "raw")
    for folder in ("images", "labels"):
        path = raw / folder / "a.nii.gz"
        other = tmp_path / "elsewhere" / folder
        other.mkdir(parents=True)
        path.rename(other / "scan.nii.gz")
        path.symlink_to(other / "scan.nii.gz")
    assert check_and_preprocess(raw).max() == 1
    (tmp_path / "elsewhere" / "images" / "scan.nii.gz").unlink()
    call = [str(raw), "--dataset", "folder", "--workers", "0"]
    assert main(["datasets", "verify", *call]) == 2


def test_a_read_only_raw_folder_stays_as_it_is(tmp_path: Path) -> None:
    raw = make(tmp_path / "raw")
    folders = [raw, raw / "images", raw / "labels"]
    before = sorted((path, path.stat().st_mtime_ns) for path in raw.rglob("*"))
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert check_and_preprocess(raw).max() == 1
    finally:
        for folder in folders:
            folder.chmod(stat.S_IRWXU)
    assert sorted((path, path.stat().st_mtime_ns) for path in raw.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path, capsys: Captured) -> None:
    raw = make(tmp_path / "raw")
    (raw / "images" / "a.nii.gz").chmod(0)
    assert main(["datasets", "verify", str(raw), "--dataset", "folder", "--workers", "0"]) == 2
    assert "permission denied" in capsys.readouterr().out


def test_forms_that_disagree_are_said_once(tmp_path: Path, capsys: Captured) -> None:
    raw = make(tmp_path / "raw")
    for folder, array in (("images", NOISE), ("labels", LABEL)):
        image = nibabel.Nifti1Image(array, AFFINE)
        image.set_sform(AFFINE, 1)
        image.set_qform(turned_by(20), 1)
        nibabel.save(image, raw / folder / "a.nii.gz")
    check_and_preprocess(raw)
    shown = capsys.readouterr()
    assert shown.out.count("sform and qform disagree; the sform is used") == 1  # verify's table
    # Image and label have the same name, so the line would be the same twice.
    assert shown.err.count("sform and qform disagree; the sform is used") == 1


def test_duplicates_by_content(tmp_path: Path, capsys: Captured) -> None:
    raw = make(tmp_path / "raw")
    write_scan(raw / "images" / "b.nii", NOISE.astype(np.float32), AFFINE)
    assert main(["datasets", "verify", str(raw), "--dataset", "folder", "--workers", "0"]) == 2
    assert "has the same voxels as b" in capsys.readouterr().out


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A DICOM series as the only case, with a label that another tool stored flipped."""
    pytest.importorskip("pydicom")
    raw = tmp_path / "raw"
    folder = write_series(raw / "images" / "a", NOISE, (1.0, 1.0, 1.5))
    from mednext_cli.volumes.scans import read_grid

    grid = read_grid(folder)
    flip = np.diag([1.0, -1, 1, 1])
    flip[1, 3] = grid.shape[1] - 1
    write_scan(raw / "labels" / "a.nii.gz", LABEL.transpose(1, 0, 2)[:, ::-1], grid.affine @ flip)
    return raw


def test_a_dicom_series_is_cached_as_its_nifti(series: Path, tmp_path: Path) -> None:
    from mednext_cli.volumes.scans import read_volume

    classes = check_and_preprocess(series)
    cached = open_cache(tmp_path / "cache" / "raw").case("a").read_image()
    volume = read_volume(series / "images" / "a")
    twin = tmp_path / "twin"
    write_scan(twin / "images" / "a.nii.gz", volume.array, volume.affine)
    (twin / "labels").mkdir()
    os.link(series / "labels" / "a.nii.gz", twin / "labels" / "a.nii.gz")
    assert np.array_equal(check_and_preprocess(twin), classes)
    assert np.array_equal(open_cache(tmp_path / "cache" / "twin").case("a").read_image(), cached)


def test_a_changed_slice_is_noticed(series: Path, capsys: Captured) -> None:
    check_and_preprocess(series)
    capsys.readouterr()
    check_and_preprocess(series)
    assert "cases made\t0" in capsys.readouterr().out
    write_series(series / "images" / "a", NOISE + np.int16(1), (1.0, 1.0, 1.5))
    check_and_preprocess(series)
    assert "cases made\t1" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["series", "folder of series"])
def test_predict_takes_a_dicom_series(series: Path, tmp_path: Path, given: str) -> None:
    from mednext_cli.volumes.scans import read_grid

    model, out = save_model(tmp_path / "model.pt", 0), tmp_path / "out"
    images = series / "images" / ("a" if given == "series" else "")
    assert predict(images, out, model) == 0
    made = nibabel.load(out / "a.nii.gz")
    grid = read_grid(series / "images" / "a")
    assert made.shape == grid.shape
    assert np.allclose(made.affine, grid.affine, atol=1e-4)


def test_nrrd_and_mha_through_the_commands(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    raw = make(tmp_path / "raw")
    expected = check_and_preprocess(raw)
    twin = tmp_path / "twin"
    for folder, ending in (("images", "nrrd"), ("labels", "mha")):
        (twin / folder).mkdir(parents=True)
        image = itk.ReadImage(str(raw / folder / "a.nii.gz"))
        itk.WriteImage(image, str(twin / folder / f"a.{ending}"))
    assert np.array_equal(check_and_preprocess(twin), expected)
    out = tmp_path / "out"
    assert predict(twin / "images", out, save_model(tmp_path / "model.pt", 0)) == 0
    assert nibabel.load(out / "a.nii.gz").shape == LABEL.shape


def test_predictions_for_a_series_score_against_labels_stored_flipped(
    series: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    images, labels = series / "images", series / "labels"
    assert predict(images, out, save_model(tmp_path / "model.pt", 0)) == 0
    grid = nibabel.load(out / "a.nii.gz")
    perfect = np.ascontiguousarray(np.asarray(nibabel.load(labels / "a.nii.gz").dataobj)[:, ::-1])
    nibabel.save(nibabel.Nifti1Image(perfect, grid.affine), out / "a.nii.gz")
    scores = tmp_path / "scores"
    assert main(["evaluate", str(out), str(labels), "--out", str(scores), "--workers", "0"]) == 0
    with (scores / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [float(row["dice"]) for row in rows] == [1.0]
