"""Whether bfloat16 is faster on a CPU: asked only of processors that have it, and once."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mednext_cli.networks.mednext.kernels.measuring import precisions
from mednext_cli.networks.mednext.kernels.measuring.precisions import bfloat16_gain
from mednext_cli.networks.workload import Workload
from tests.networks.made import mednext

WORKLOAD = Workload(
    mednext("S", 3, 1, 2, 4), (32, 48, 32), 2, torch.bfloat16, True, torch.device("cpu")
)


@pytest.fixture
def instructions(monkeypatch, tmp_path):
    """A processor that has them, as far as anybody asks.

    Where it has not, PyTorch sums gradients of its convolutions up in bfloat16: that is let pass.
    """
    monkeypatch.setattr(precisions, "fault", lambda *_: "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    return tmp_path


@pytest.fixture
def timings(monkeypatch):
    """The names of what was timed; float32 takes 6 ms and bfloat16 4."""
    timed = []

    def pretend(works, *_, **__):
        timed.extend(works)
        taken = {"float32": 6.0, "bfloat16": 4.0}
        return SimpleNamespace(
            timed={name: SimpleNamespace(milliseconds=taken[name]) for name in works}
        )

    monkeypatch.setattr(precisions, "time_in_turns", pretend)
    return timed


def test_other_processors_are_not_measured(monkeypatch, timings):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert bfloat16_gain(WORKLOAD) is None
    assert timings == []


def test_what_was_measured_is_kept_unless_it_is_damaged(instructions, timings):
    assert bfloat16_gain(WORKLOAD) == 1.5
    assert bfloat16_gain(WORKLOAD) == 1.5
    assert timings == ["float32", "bfloat16"]
    [kept] = instructions.rglob("*.json")
    for damage in ("{", '{"gain": -1.0}', '{"gain": "fast"}', "[]"):
        kept.write_text(damage)
        timings.clear()
        assert bfloat16_gain(WORKLOAD) == 1.5
        assert timings


def test_what_computes_wrongly_is_not_taken(instructions, timings, monkeypatch, caplog):
    monkeypatch.setattr(precisions, "fault", lambda *_: "output deviates by 0.5")
    assert bfloat16_gain(WORKLOAD) is None
    assert "bfloat16 is not taken" in caplog.text
    assert timings == []


def test_networks_and_kernels_that_compute_otherwise_are_measured_by_themselves(
    instructions, timings, monkeypatch
):
    assert bfloat16_gain(WORKLOAD) == 1.5
    timings.clear()
    other = replace(WORKLOAD, network=mednext("S", 3, 1, 2, 4, grn=True))
    assert bfloat16_gain(other) == 1.5
    assert timings
    timings.clear()
    monkeypatch.setattr(precisions, "libraries", lambda: ())  # nothing is compiled
    assert bfloat16_gain(WORKLOAD) == 1.5
    assert timings


@pytest.mark.parametrize("error", [ArithmeticError("not finite"), RuntimeError("no primitive")])
def test_a_measurement_that_fails_hinders_nothing(instructions, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(precisions, "measure_gain", fail)
    assert bfloat16_gain(WORKLOAD) is None
    assert f"bfloat16 is not measured, and float32 is taken: {error}" in caplog.text
    assert not list(instructions.rglob("*.json"))


def test_a_folder_that_cannot_be_written_hinders_nothing(
    tmp_path, instructions, timings, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert bfloat16_gain(WORKLOAD) == 1.5


def test_the_whole_way(instructions, monkeypatch):
    monkeypatch.setattr(precisions, "_SECONDS", 0.01)
    monkeypatch.setattr(precisions, "_LONGEST", 16)
    gain = bfloat16_gain(WORKLOAD)
    assert gain is not None
    assert gain > 0
