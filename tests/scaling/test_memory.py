"""The estimate of memory against what autograd keeps."""

import csv
from pathlib import Path

import pytest
import torch

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.mednext import blocks
from mednext_cli.networks.spec import describe_network
from mednext_cli.scaling.memory import estimate_memory
from tests.networks.made import build, mednext

_PATCH = (32, 48, 32)


@pytest.fixture(scope="module")
def estimate():
    return estimate_memory(mednext("S", 3, 1, 2, 8), _PATCH, 2)


def test_weights_are_counted_exactly(estimate):
    count = sum(one.numel() for one in build(mednext("S", 3, 1, 2, 8)).parameters())
    assert estimate.weights_gib == pytest.approx(4 * count / GIB)


def test_training_holds_what_the_backward_pass_needs(estimate, monkeypatch):
    monkeypatch.setattr(blocks, "library_of", lambda *_: None)  # a GPU's operators keep as much
    network = build(mednext("S", 3, 1, 2, 8))
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = network(torch.randn(2, 1, *_PATCH), deep_supervision=True)
    saved = sum(kept.values()) / GIB
    assert outputs
    assert saved < estimate.training_gib < 1.5 * saved


def test_checkpointing_and_inference_need_less(estimate):
    assert estimate.training_checkpointed_gib < 0.6 * estimate.training_gib
    assert estimate.inference_gib < 0.5 * estimate.training_checkpointed_gib


def test_memory_grows_with_the_batch(estimate):
    double = estimate_memory(mednext("S", 3, 1, 2, 8), _PATCH, 4)
    assert double.training_gib == pytest.approx(2 * estimate.training_gib, rel=0.1)
    assert double.inference_gib == estimate.inference_gib


def test_half_precision_takes_more_than_half_on_a_gpu_where_norms_stay_float32(estimate):
    one = (mednext("S", 3, 1, 2, 8), _PATCH, 2)
    gpu = estimate_memory(*one, dtype=torch.bfloat16)
    cpu = estimate_memory(*one, device_type="cpu", dtype=torch.bfloat16)
    assert cpu.training_gib < gpu.training_gib < 0.7 * estimate.training_gib
    assert gpu.training_gib > 0.5 * estimate.training_gib
    assert gpu.weights_gib == estimate.weights_gib
    assert gpu.training_checkpointed_gib < 0.7 * gpu.training_gib
    assert estimate_memory(*one, dtype=torch.float16) == gpu


_MEASURED = Path(__file__).parents[2] / "benchmarks" / "results" / "kernels.csv"


@pytest.mark.slow
@pytest.mark.parametrize(("size", "kernel"), [("S", 3), ("M", 5), ("L", 3), ("L", 5)])
def test_fused_operators_take_what_was_measured(size, kernel):
    """On an H100: patches of 128^3, batch 2, bfloat16, three classes."""
    with _MEASURED.open() as file:
        peaks = {
            (row["row"], row["way"]): float(row["peak_gib"])
            for row in csv.DictReader(file)
            if row["peak_gib"]
        }
    spec = mednext(size, kernel, 1, 3, 32, deep_supervision=True)
    found = estimate_memory(spec, (128, 128, 128), 2, dtype=torch.bfloat16).training_fused_gib
    measured = peaks[f"training step {size}-k{kernel}", "fused, CUDA graph"]
    assert found == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("settings", [{"norm": "layer"}, {"grn": True}, {"dimensions": 2}])
def test_blocks_that_are_not_fused_have_no_such_estimate(settings):
    patch = (32, 48) if "dimensions" in settings else _PATCH
    spec = describe_network("mednext", 1, 2, size="S", base_channels=8, **settings)
    assert estimate_memory(spec, patch, 2, dtype=torch.bfloat16).training_fused_gib is None


def test_on_a_cpu_and_in_float32_nothing_is_fused(estimate):
    assert estimate.training_fused_gib is None
    half = estimate_memory(
        mednext("S", 3, 1, 2, 8), _PATCH, 2, device_type="cpu", dtype=torch.bfloat16
    )
    assert half.training_fused_gib is None
