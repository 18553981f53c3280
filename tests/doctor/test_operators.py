"""`mednext doctor --operators`: a table of what was measured, and what is wrong with a wish."""

import csv
from functools import partial

import pytest

from mednext_cli.app import main
from mednext_cli.doctor.columns import OPERATORS
from mednext_cli.networks.mednext.kernels.measuring import choosing
from tests.networks.mednext.kernels.measuring.workbenches import StockBench


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr(choosing, "BlockBench", partial(StockBench, seconds=0.01))


@pytest.mark.slow
def test_every_candidate_has_a_row_and_one_of_each_block_is_chosen(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    options = ["--patch", "16,16,32", "--batch", "1", "--device", "cpu", "--out", str(tmp_path)]
    assert main(["doctor", "--operators", "--network", "s-k3", "--prediction", *options]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "operators.csv") in said
    with (tmp_path / "operators.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == OPERATORS.names
    for precision in ("float32", "bfloat16"):
        blocks = {row["block"] for row in rows if row["precision"] == precision}
        chosen = [
            row["block"] for row in rows if row["precision"] == precision and row["chosen"] == "yes"
        ]
        assert sorted(chosen) == sorted(blocks) == sorted(set(chosen))
    timed = [row for row in rows if not row["struck_out"]]
    assert all(float(row["milliseconds"]) > 0 < float(row["roofline_share"]) for row in timed)
    assert all(float(row["deviation"]) < 0.05 for row in timed)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--network", "L-k5"], "Add --operators"),
        (["--operators", "--network", "L"], "--network L"),
        (["--operators", "--network", "S-k4"], "--network S-k4"),
        (["--operators", "--patch", "1,2"], "--patch 1,2"),
        (["--operators", "--device", "cuda:77"], "there is no device"),
        (["--operators", "--device", "cpu", "--precision", "float16"], "float16"),
        (["--operators", "--device", "cpu", "--patch", "30"], "divisible by 8"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, options, said):
    assert main(["doctor", *options, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
