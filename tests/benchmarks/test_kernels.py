"""The benchmark of the operators: what it refuses to time, and that it runs without a GPU."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
LAST = "stock, channels-last"


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_rows

    return gpu_rows


def _run(tmp_path: Path, *options: str, interpreted: bool = False) -> list[dict[str, str]]:
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_INTERPRET": "1"} if interpreted else {}
    out = tmp_path / "kernels.csv"
    command = [sys.executable, FOLDER / "kernels.py", "--device", "cpu", "--tiny", "--out", out]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_an_error_counts_by_stock_pytorchs_own(rows) -> None:
    stock = {"output": 0.01, "gradient": 0.02}
    right = rows.judge({"output": 0.015, "gradient": 0.03}, stock)
    assert (right.error, right.error_of) == (0.03, "gradient")
    assert right.times_stock == pytest.approx(1.5)
    assert not right.is_refused
    assert rows.judge({"output": 0.01, "gradient": 0.041}, stock).is_refused
    assert rows.judge({"output": float("nan"), "gradient": 0.02}, stock).is_refused


def test_a_gradient_that_is_zero_by_arithmetic_is_not_judged(rows) -> None:
    stock = {"output": 0.01, "bias": 1.4}
    assert not rows.judge({"output": 0.01, "bias": 9.0}, stock).is_refused


def test_less_than_the_rounding_of_a_value_is_no_error(rows) -> None:
    assert not rows.judge({"output": 1e-3}, {"output": 1e-7}).is_refused
    assert rows.judge({"output": 1e-2}, {"output": 1e-7}).is_refused


def test_distances_are_relative(rows) -> None:
    exact = torch.tensor([3.0, 4.0])
    found = rows.distances({"output": torch.tensor([3.0, 4.5])}, {"output": exact})
    assert found == {"output": pytest.approx(0.1)}


def test_what_is_wrong_is_named_and_not_timed(rows) -> None:
    place = rows.Place(torch.device("cpu"), tiny=True, rounds=3, seconds=1.0)
    done = []
    works = {name: lambda name=name: done.append(name) for name in ("right", "wrong")}
    accuracies = {
        "right": rows.Accuracy(0.01, "output", 1.0),
        "wrong": rows.Accuracy(0.05, "gradient of weight", 2.1),
    }
    right, wrong = rows.timed_rows(place, "row", works, accuracies)
    assert set(done) == {"right"}
    assert right["milliseconds"] >= 0
    assert "milliseconds" not in wrong
    assert (wrong["refused"], wrong["error_of"]) == (True, "gradient of weight")


@pytest.mark.slow
def test_it_runs_on_a_cpu_without_fused_operators(tmp_path: Path) -> None:
    found = _run(tmp_path, "--only", "stages", "steps", "inference")
    assert {row["row"].split()[0] for row in found} == {"1", "down", "up", "training", "inference"}
    assert all(float(row["milliseconds"]) > 0 for row in found if "backward" not in row["row"])
    assert all(row["torch"] == torch.__version__ for row in found)
    both = {row["way"]: row for row in found if row["row"].endswith("both")}
    assert set(both) >= {LAST, "stock, channels-first, from and to channels-last"}
    assert both["stock, channels-first"]["times_stock_error"] == "1.0"


@pytest.mark.slow
def test_fused_operators_are_compared_and_timed_beside_stock_ones(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    found = _run(tmp_path, "--only", "depthwise", interpreted=True)
    fused = [row for row in found if row["way"] == "fused"]
    assert [row["row"].rsplit(" ", 1)[1] for row in fused] == ["forward", "both", "backward"]
    assert all(float(row["times_stock_error"]) <= 2 for row in fused)


def test_without_a_gpu_it_says_what_to_do(
    rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import kernels

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["kernels.py", "--out", str(tmp_path / "kernels.csv")])
    assert kernels.main() == 2
    assert "--device cpu --tiny" in capsys.readouterr().err
    assert not (tmp_path / "kernels.csv").exists()


def test_tensor_cores_are_a_way_of_a_single_convolution_where_they_take_it(
    rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton")
    import gpu_chains

    from mednext_cli.networks.mednext.kernels.tensor_cores import operator

    def convolve(x, weight, bias, *_):
        result = torch.nn.functional.conv3d(x, weight, bias, padding=1, groups=x.shape[1])
        return result, x.new_empty(0), x.new_empty(0)

    monkeypatch.setattr(operator, "depthwise", convolve)
    monkeypatch.setattr(gpu_chains, "can_run", lambda _: False)
    monkeypatch.setattr(
        gpu_chains, "takes", lambda _, dtype, channels, kernel: (channels, kernel) == (4, 3)
    )
    place = rows.Place(torch.device("cpu"), tiny=True, rounds=1, seconds=1.0)
    found = list(gpu_chains.chain_rows(place, gpu_chains.depthwise_chains(place)))
    taken = [row for row in found if row["way"] == "fused, tensor cores"]
    assert [row["row"].rsplit(" ", 1)[1] for row in taken] == ["forward", "both", "backward"]
    assert all(row["times_stock_error"] == pytest.approx(1.0, rel=0.5) for row in taken)
