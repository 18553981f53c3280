"""From a network and a device to choices: measured, kept, and where nothing may be measured."""

import multiprocessing
from dataclasses import replace
from functools import partial

import pytest
import torch

from mednext_cli.networks.mednext.family import FAMILY
from mednext_cli.networks.mednext.kernels.measuring import choosing
from mednext_cli.networks.mednext.kernels.measuring.candidates import list_candidates
from mednext_cli.networks.mednext.kernels.measuring.choices import apply_choices
from mednext_cli.networks.mednext.kernels.measuring.driver import (
    Driver,
    ask_driver,
    obstacle,
    why_not,
)
from mednext_cli.networks.mednext.kernels.measuring.machine import hash_kernels
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape
from mednext_cli.networks.workload import Workload
from tests.networks.made import build, mednext
from tests.networks.mednext.kernels.measuring.workbenches import SmallestBench

CPU = torch.device("cpu")
SPEC = mednext("S", 3, 1, 2, 1)
WORK = Workload(SPEC, (16, 16, 32), 1, torch.float32, True, CPU)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches"


def test_on_a_cpu_nothing_is_measured_by_the_way(own_folder):
    assert FAMILY.choose_operators(WORK) is None
    assert not own_folder.exists()


def test_networks_of_slices_have_nothing_to_choose_from():
    flat = Workload(mednext("S", 3, 1, 2, 2, dimensions=2), (1, 32, 32), 1, WORK.dtype, True, CPU)
    assert FAMILY.choose_operators(flat) is None


def test_tensor_cores_are_tried_where_they_take_the_convolution(monkeypatch):
    everything = "mednext_cli.networks.mednext.kernels.tensor_cores.availability.can_run"
    monkeypatch.setattr(everything, lambda device: True)
    for kind, dtype, tried in (
        ("block", torch.bfloat16, True),
        ("down", torch.bfloat16, True),
        ("block", torch.float32, False),
    ):
        shape = BlockShape(kind, 1, 32, 64, 32, 5, (8, 8, 8))
        ways = {one.way for one in list_candidates(shape, replace(WORK, dtype=dtype))}
        assert ("tensor_cores" in ways) is tried


@pytest.mark.slow
def test_the_whole_way_with_tritons_interpreter(monkeypatch):
    """Plan, check, time, choose, keep, put in force; the fused operators are among the tried."""
    monkeypatch.setattr(choosing, "BlockBench", partial(SmallestBench, seconds=0.01))
    measured, choices = choosing.measure_anew(WORK)
    tried = {trial.candidate.way for trial in measured.trials}
    assert {"arranged", "pytorch", "triton", "triton:wide"} <= tried
    assert {trial.struck for trial in measured.trials} == {""}
    assert all(trial.deviation < 1e-2 and trial.duration for trial in measured.trials)
    kept = FAMILY.choose_operators(WORK)
    assert kept == choices.model_dump(mode="json")
    network = build(SPEC)
    image = torch.randn(1, 1, *WORK.patch_voxels)
    expected = network(image)
    apply_choices(network, kept)
    torch.testing.assert_close(network(image), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("changes", [{"batch": 2}, {"training": False}, {"dtype": torch.bfloat16}])
def test_other_work_is_measured_by_itself(changes):
    assert choosing.cache_key(WORK) != choosing.cache_key(Workload(**vars(WORK) | changes))


def test_the_key_has_the_device_the_versions_and_the_kernels(tmp_path):
    key = choosing.cache_key(WORK)
    assert {"device", "torch", "triton", "kernels", "deterministic", "dtype", "batch"} <= key.keys()
    (tmp_path / "kernel.py").write_text("one")
    before = hash_kernels(tmp_path)
    hash_kernels.cache_clear()
    (tmp_path / "kernel.py").write_text("other")
    assert hash_kernels(tmp_path) != before


def test_a_run_that_goes_on_here_keeps_its_choices(own_folder):
    (own_folder / "mednext" / "operators").mkdir(parents=True)
    kept = {"device": choosing.device_name(CPU), "anything": "as it is"}
    assert FAMILY.choose_operators(WORK, kept) == kept
    assert FAMILY.choose_operators(WORK, {"device": "another GPU"}) is None


def test_deterministic_algorithms_are_other_work():
    before = choosing.cache_key(WORK)
    torch.use_deterministic_algorithms(True)
    try:
        assert choosing.cache_key(WORK) != before
    finally:
        torch.use_deterministic_algorithms(False)


def _say_why_not(connection):
    connection.send(why_not(CPU))


def test_a_worker_process_measures_nothing():
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_say_why_not, args=(theirs,), daemon=True)
    process.start()
    assert "worker process" in ours.recv()
    process.join()
    assert why_not(CPU) == ""


@pytest.mark.parametrize(
    ("name", "answer", "reason"),
    [
        ("NVIDIA H100", Driver(), ""),
        ("NVIDIA H100", Driver("570.1", "700", "Default", "Disabled"), ""),
        ("NVIDIA H100 MIG 1g.10gb", Driver(), "MIG"),
        ("NVIDIA H100", Driver("570.1", "700", "Default", "Enabled"), "MIG"),
        ("NVIDIA H100", Driver(processes=(1, 2)), "2 other processes"),
    ],
)
def test_what_would_spoil_timings_is_named(monkeypatch, name, answer, reason):
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    found = obstacle(name, answer)
    assert reason in found
    assert bool(found) == bool(reason)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", "/run/mps")
    assert obstacle(name, answer)


@pytest.mark.parametrize(
    ("answers", "driver"),
    [
        (["570.86.15, 700.00, Default, Disabled\n", "17\n42\n"],
         Driver("570.86.15", "700.00", "Default", "Disabled", (17, 42))),
        (["570.86.15, [N/A], Default, [N/A]\n", ""],
         Driver("570.86.15", "[N/A]", "Default", "[N/A]")),
        (["", ""], Driver()),
        (["No devices were found", ""], Driver()),
    ],
)  # fmt: skip
def test_the_drivers_answer_is_read(monkeypatch, answers, driver):
    given = iter(answers)
    identity = "mednext_cli.networks.mednext.kernels.measuring.driver._identity"
    monkeypatch.setattr(identity, lambda device: "GPU-1")
    assert ask_driver(torch.device("cuda"), lambda arguments: next(given)) == driver
