from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import write_label, write_scan

Captured = pytest.CaptureFixture[str]


def make_cases(folder: Path, *labels: str, values: tuple[int, ...] = (1, 2, 3)) -> Path:
    """Two cases with these label maps, and one without."""
    for number in (0, 1, 400):
        case = folder / f"case_{number:05d}"
        noise = np.random.default_rng(number).normal(size=(4, 5, 6)).astype(np.float32)
        write_scan(case / "imaging.nii.gz", noise)
        for name in labels if number < 400 else ():
            write_label(case / f"{name}.nii.gz", values)
    return folder


@pytest.fixture
def kits21(tmp_path: Path) -> Path:
    names = [f"aggregated_{vote}_seg" for vote in ("AND", "MAJ", "OR")]
    make_cases(tmp_path / "clone" / "kits21" / "data", *names)
    return tmp_path / "clone"


@pytest.fixture
def kits23(tmp_path: Path) -> Path:
    return make_cases(tmp_path / "kits23" / "dataset", "segmentation").parent


def test_kits21_is_scored_against_the_majority(kits21: Path) -> None:
    dataset = read_dataset(kits21, "kits21")
    assert (dataset.name, dataset.layout, dataset.channels) == ("kits21", "kits21", ("CT",))
    assert [case.id for case in dataset.cases] == ["case_00000", "case_00001", "case_00400"]
    assert [case.label.name for case in dataset.labelled if case.label] == [
        "aggregated_MAJ_seg.nii.gz"
    ] * 2


@pytest.mark.parametrize("layout", ["kits21", "kits23"])
def test_labels_regions_and_tolerances(layout: str, request: pytest.FixtureRequest) -> None:
    labels = read_dataset(request.getfixturevalue(layout), layout).labels
    assert labels.names == {"kidney": 1, "tumour": 2, "cyst": 3}
    assert labels.regions == {"kidney_and_masses": (1, 2, 3), "masses": (2, 3), "tumour": (2,)}
    assert labels.tolerance_mm["masses"] == pytest.approx(1.13288, abs=1e-5)
    assert set(labels.tolerance_mm) == set(labels.regions)


def test_each_is_read_through_the_commands(kits21: Path, kits23: Path, tmp_path: Path) -> None:
    for raw, layout in ((kits21, "kits21"), (kits23, "kits23")):
        call = [str(raw), "--dataset", layout, "--workers", "0"]
        assert main(["datasets", "verify", *call]) == 0
        assert main(["preprocess", *call, "--cache", str(tmp_path / "cache")]) == 0
        assert (tmp_path / "cache" / layout / "case_00000.h5").is_file()


@pytest.mark.parametrize("given", ["kits19", "kits23", "msd", "folder", "brats21"])
def test_another_layout_names_kits21(kits21: Path, given: str) -> None:
    raw = kits21 / "kits21" if given == "kits19" else kits21
    with pytest.raises(DatasetError, match="--dataset kits21"):
        read_dataset(raw, given)


def test_kits23_as_kits21(kits23: Path) -> None:
    with pytest.raises(DatasetError, match=r"it is not kits21.*--dataset kits23"):
        read_dataset(kits23, "kits21")


@pytest.mark.parametrize("command", ["datasets verify", "preprocess"])
def test_kits23_as_kits19_says_what_label_3_is(
    tmp_path: Path, capsys: Captured, command: str
) -> None:
    raw = make_cases(tmp_path / "raw", "segmentation")
    options = ["--cache", str(tmp_path / "cache")] if command == "preprocess" else []
    call = [*command.split(), str(raw), "--dataset", "kits19", "--workers", "0", *options]
    assert main(call) == 2
    said = "".join(capsys.readouterr())
    assert "In KiTS23 label 3 is a cyst: give --dataset kits23" in said
    assert "dataset.json" not in said


def test_scores_take_regions_tolerances_and_convention(kits23: Path, tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    for number in (0, 1):
        label = kits23 / "dataset" / f"case_{number:05d}" / "segmentation.nii.gz"
        write_label(predictions / f"case_{number:05d}.nii.gz", (1, 2, 3))
        assert label.is_file()
    call = ["evaluate", str(predictions), str(kits23), "--dataset", "kits23", "--workers", "0"]
    assert main([*call, "--out", str(tmp_path / "scores")]) == 0
    table = (tmp_path / "scores" / "cases.csv").read_text()
    for text in ("kidney_and_masses", "masses", "tumour", ",kits23"):
        assert text in table
