"""Trained arms on another dataset: as they are, and fine-tuned."""

from pathlib import Path

import pytest

from mednext_cli.app import main
from tests.experiments.synthetic import TINY, arguments, read_rows, write_recipe
from tests.training.synthetic import NAME

ONE = TINY.replace("[0, 1]", "[0]") + "[arms.k3]\n"
MAP = '[label_map]\norgan = "organ"\n'


def _transfer(folder: Path, lines: str) -> Path:
    (folder / "map.toml").write_text(MAP)
    return write_recipe(folder, f'{ONE}[transfer]\ndataset = "{NAME}"\n{lines}')


@pytest.mark.slow
def test_arms_are_scored_as_they_are_and_fine_tuned_by_the_shared_labels(
    boxes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = _transfer(tmp_path, 'cases = [0, 1]\nbudget = 1.0\nlabel_map = "map.toml"\n')
    command = arguments(recipe, boxes, tmp_path / "out")
    assert main(command) == 0, capfd.readouterr().err
    rows = read_rows(tmp_path / "out" / "transfer.csv")
    assert [(row["training_cases"], row["region"]) for row in rows] == [
        ("0", "organ"), ("0", "overall"), ("1", "organ"), ("1", "overall"),
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"ok"}
    assert [float(row["steps"]) for row in rows] == [0, 0, 2, 2]
    capfd.readouterr()
    assert main(command) == 0  # all is done, nothing is begun again
    assert "run 1 of" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("cases = [0, 1000]\n", "training.cases = 1000"),
        ('label_map = "absent"\n', "unknown label map 'absent'"),
        ('datasets = "more"\n', "did you mean transfer.dataset?"),
    ],
)
def test_a_transfer_that_cannot_be_is_told_before_anything_is_trained(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: str, reason: str
) -> None:
    recipe = _transfer(tmp_path, lines)
    assert main(arguments(recipe, boxes, tmp_path / "out")) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()
