import csv
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.datasets.columns import VERIFIED
from tests.datasets.conftest import write_scan

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two small cases in KiTS19 layout; the second one's label lies outside the dataset's."""
    folder = tmp_path / "raw"
    for number, value in enumerate((1, 5)):
        case = folder / f"case_{number:05d}"
        image = np.random.default_rng(number).normal(size=(4, 5, 6)).astype(np.float32)
        label = np.zeros((4, 5, 6), np.uint8)
        label[1:3, 2, 2] = value
        write_scan(case / "imaging.nii.gz", image)
        write_scan(case / "segmentation.nii.gz", label)
    return folder


def test_ls_names_every_layout(capsys: Captured) -> None:
    assert main(["datasets", "ls"]) == 0
    names = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"msd", "nnunet", "kits19"} <= set(names)


def test_verify_says_what_is_wrong_and_ends_with_2(
    raw: Path, tmp_path: Path, capsys: Captured
) -> None:
    out = tmp_path / "out"
    arguments = ["datasets", "verify", str(raw), "--dataset", "kits19", "--out", str(out)]
    assert main([*arguments, "--workers", "0", "--quiet"]) == 2
    shown = capsys.readouterr()
    assert "1 of 2 cases failed: case_00001" in shown.err
    assert "values 5" in shown.out
    with (out / "verify.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == VERIFIED.names
    assert [row["case"] for row in rows] == ["case_00000", "case_00001"]
    assert (rows[0]["label_values"], rows[0]["problems"]) == ("0 1", "")
    assert "values 5" in rows[1]["problems"]


def test_verify_of_a_good_folder(raw: Path, capsys: Captured) -> None:
    (raw / "case_00001" / "segmentation.nii.gz").unlink()
    assert main(["datasets", "verify", str(raw), "--dataset", "kits19", "--workers", "0"]) == 0
    assert "case_00001\t0\t4x5x6\t1x1x1" in capsys.readouterr().out


def test_unknown_layout(raw: Path, capsys: Captured) -> None:
    assert main(["datasets", "verify", str(raw), "--dataset", "kits_19"]) == 2
    assert "Did you mean kits19?" in capsys.readouterr().err
