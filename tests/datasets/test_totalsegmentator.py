from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.volumes.scans import read_label_map
from tests.datasets.conftest import write_scan

SHAPE = (16, 17, 18)


def mask(first: int, last: int) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[first:last, 4:12, 4:12] = 1
    return array


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two subjects; spleen and liver overlap in the first, the second has no spleen."""
    folder = tmp_path / "Totalsegmentator"
    for number in (0, 11):
        subject = folder / f"s{number:04d}"
        noise = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
        write_scan(subject / "ct.nii.gz", noise)
        write_scan(subject / "segmentations" / "liver.nii.gz", mask(2, 8))
    write_scan(folder / "s0000" / "segmentations" / "spleen.nii.gz", mask(7, 12))
    (folder / "meta.csv").write_text("image_id;split\n")
    return folder


def test_all_structures_in_alphabetical_order(raw: Path) -> None:
    dataset = read_dataset(raw, "totalsegmentator")
    assert dataset.channels == ("CT",)
    assert dataset.labels.names == {"liver": 1, "spleen": 2}
    assert [case.id for case in dataset.labelled] == ["s0000", "s0011"]
    assert dataset.cases[0].masks == (("liver.nii.gz", 1), ("spleen.nii.gz", 2))
    assert dataset.cases[1].masks == (("liver.nii.gz", 1),)


def test_structures_that_are_named_in_their_order(raw: Path) -> None:
    options = LayoutOptions(structures=("spleen", "liver"))
    assert read_dataset(raw, "totalsegmentator", options).labels.names == {"spleen": 1, "liver": 2}
    with pytest.raises(SettingsError, match=r"no subject of .* has 'livr'.*Did you mean liver\?"):
        read_dataset(raw, "totalsegmentator", LayoutOptions(structures=("livr",)))


def test_mr(raw: Path) -> None:
    (raw / "s0000" / "ct.nii.gz").rename(raw / "s0000" / "mri.nii.gz")
    with pytest.raises(DatasetError, match="both ct and mri"):
        read_dataset(raw, "totalsegmentator")
    (raw / "s0011" / "ct.nii.gz").rename(raw / "s0011" / "mri.nii.gz")
    assert read_dataset(raw, "totalsegmentator").channels == ("MR",)


def test_no_subjects_and_no_masks(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no s0000/ct.nii.gz"):
        read_dataset(tmp_path, "totalsegmentator")
    for path in raw.glob("*/segmentations/*"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"no subject of .* has a mask"):
        read_dataset(raw, "totalsegmentator")


def cached_classes(tmp_path: Path, case: str) -> np.ndarray:
    return open_cache(tmp_path / "cache" / "totalsegmentator").case(case).read_label()


def test_preprocess_merges_and_reports_overlaps(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(raw), "--dataset", "totalsegmentator", "--workers", "0"]
    call = ["preprocess", *arguments, "--cache", str(tmp_path / "cache")]
    assert main(call) == 0
    assert "s0000: masks overlap in 64 voxels" in capsys.readouterr().err
    assert cached_classes(tmp_path, "s0000").max() == 2
    assert np.count_nonzero(cached_classes(tmp_path, "s0000") == 2) == 5 * 64
    assert np.count_nonzero(cached_classes(tmp_path, "s0000") == 1) == 5 * 64  # one slice taken
    assert cached_classes(tmp_path, "s0011").max() == 1
    # Other structures have the same label values and give another label map.
    assert main([*call, "--structures", "spleen,liver"]) == 0
    assert np.count_nonzero(cached_classes(tmp_path, "s0000") == 1) == 4 * 64
    assert set(np.unique(cached_classes(tmp_path, "s0011"))) == {0, 2}
    # A changed mask is noticed.
    write_scan(raw / "s0011" / "segmentations" / "liver.nii.gz", mask(2, 4))
    assert main([*call, "--structures", "spleen,liver"]) == 0
    assert np.count_nonzero(cached_classes(tmp_path, "s0011") == 2) == 2 * 64


def test_verify_notes_overlaps_and_refuses_another_grid(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["datasets", "verify", str(raw), "--dataset", "totalsegmentator", "--workers", "0"]
    assert main([*call, "-q"]) == 0
    assert "masks overlap in 64 voxels" in capsys.readouterr().out
    write_scan(raw / "s0000" / "segmentations" / "liver.nii.gz", mask(2, 8), np.diag([2, 1, 1, 1]))
    assert main([*call, "-q"]) == 2
    assert "spleen.nii.gz lies on another grid than liver.nii.gz" in capsys.readouterr().out


def test_scores_against_the_masks_of_a_subject(raw: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    for name in ("s0000", "s0011"):
        write_scan(predictions / f"{name}.nii.gz", mask(2, 8))
    call = ["evaluate", str(predictions), str(raw), "--dataset", "totalsegmentator"]
    assert main([*call, "--out", str(tmp_path / "scores"), "--workers", "0"]) == 0
    assert (tmp_path / "scores" / "cases.csv").is_file()


@pytest.mark.slow
def test_real_segmentation_split_into_masks(data_folder: Path, tmp_path: Path) -> None:
    """Merging the masks of a real 40-organ segmentation gives the segmentation."""
    source = data_folder / "totalsegmentator_ct"
    whole = read_label_map(source / "example_seg.nii.gz")
    subject = tmp_path / "raw" / "s0000"
    subject.mkdir(parents=True)
    (subject / "ct.nii.gz").symlink_to(source / "example_ct_sm.nii.gz")
    values = [int(value) for value in np.unique(whole.array) if value]
    for value in values:
        path = subject / "segmentations" / f"organ_{value:03d}.nii.gz"
        write_scan(path, (whole.array == value).astype(np.uint8), whole.affine)
    dataset = read_dataset(tmp_path / "raw", "totalsegmentator")
    assert len(dataset.labels.names) == len(values) > 30
    call = [str(tmp_path / "raw"), "--dataset", "totalsegmentator", "--workers", "0"]
    assert main(["datasets", "verify", *call]) == 0
    cache = tmp_path / "cache"
    assert main(["preprocess", *call, "--spacing", "3", "--cache", str(cache)]) == 0
    made = cached_classes(tmp_path, "s0000")
    expected = np.searchsorted([0, *values], whole.array)
    assert np.array_equal(np.bincount(made.ravel()), np.bincount(expected.ravel()))
