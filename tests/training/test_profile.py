"""`mednext train --profile`: the parts of a step, and a run that is left alone."""

import csv
from itertools import count
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.training import profile
from mednext_cli.training.profile import summarise
from tests.training.synthetic import arguments


def test_parts_are_medians_over_the_steps_and_shares_of_their_sum() -> None:
    rows = summarise([[0, 1, 3, 6, 10], [0, 1, 3, 6, 10], [0, 90, 92, 95, 99]])
    assert [row.part for row in rows] == ["data", "forward", "backward", "optimiser", "step"]
    assert [row.seconds for row in rows] == [1, 2, 3, 4, 10]
    assert [row.share for row in rows] == pytest.approx([0.1, 0.2, 0.3, 0.4, 1.0])


def test_a_profile_is_a_table_and_makes_no_run(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out = tmp_path / "runs", tmp_path / "profile.csv"
    call = arguments(boxes, runs, "--profile", "2", "--profile-out", str(out))
    assert main(call) == 0
    assert not runs.exists()
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    shares = [float(row["share"]) for row in rows[:-1]]
    assert sum(shares) == pytest.approx(1, abs=len(shares) * 5e-7)  # they have six digits
    assert all(float(row["seconds"]) > 0 for row in rows)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["part", *(row["part"] for row in rows)]


def test_all_accumulated_batches_count(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks, out = count(), tmp_path / "profile.csv"
    monkeypatch.setattr(profile, "_now", lambda device: float(next(ticks)))
    options = ("--profile", "1", "--profile-out", str(out), "--set", "training.accumulate=3")
    assert main(arguments(boxes, tmp_path / "runs", *options)) == 0
    with out.open(newline="") as stream:
        seconds = {row["part"]: float(row["seconds"]) for row in csv.DictReader(stream)}
    assert seconds == {"data": 1, "forward": 3, "backward": 3, "optimiser": 1, "step": 8}


def test_a_file_without_a_profile_is_refused(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(boxes, tmp_path, "--profile-out", "x.csv")) == 2
    assert capsys.readouterr().err.startswith("error: --profile-out is for --profile")
