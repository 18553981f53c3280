"""Seconds by a device's peaks, and by what published trainings reach of them."""

from collections import Counter

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.scaling.device_sheets import DeviceSheet, find_sheet
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.ledger import Kind, Operation
from mednext_cli.scaling.published import REVISITED
from mednext_cli.scaling.roofline import DEPTHWISE_SHARE, SLOWER, estimate_time
from tests.networks.made import mednext

_SHEET = DeviceSheet("toy", "a toy", "cuda", 1.0, 10.0, 100.0, 1000.0, 1.0)
_TERA = 10**12


def _seconds(
    kind: Kind, dtype: torch.dtype, operations: int, bytes_moved: int
) -> tuple[float, float]:
    work = Counter({Operation(kind, dtype, operations, bytes_moved): 2})
    time = estimate_time(work, 0, _SHEET)
    return time.floor_seconds, time.expected_seconds


def test_each_operator_takes_the_longer_of_arithmetic_and_memory() -> None:
    assert _seconds("dense", torch.float32, _TERA, 1) == pytest.approx((0.2, 0.2 * SLOWER))
    assert _seconds("dense", torch.bfloat16, _TERA, 1) == pytest.approx((0.02, 0.02 * SLOWER))
    assert _seconds("dense", torch.bfloat16, 1, _TERA) == pytest.approx((2, 2 * SLOWER))
    assert _seconds("other", torch.float32, 0, _TERA) == pytest.approx((2, 2 * SLOWER))


def test_depthwise_convolutions_reach_little_of_the_plain_units() -> None:
    floor, expected = _seconds("depthwise", torch.bfloat16, _TERA, 1)
    assert (floor, expected) == pytest.approx((2, 2 / DEPTHWISE_SHARE))


def test_depthwise_work_is_counted_apart_and_its_gradient_twice() -> None:
    dry = DryNetwork(mednext("S", 3, 1, 2, 4))

    def work(run, kind: Kind) -> int:
        return sum(one.operations * n for one, n in run.work.items() if one.kind == kind)

    forward, step = dry.infer((16, 32, 16), all_heads=True), dry.train((16, 32, 16), 1)
    assert work(step, "depthwise") == 3 * work(forward, "depthwise") > 0
    # But for the stem, whose input needs no gradient.
    assert 2.9 * work(forward, "dense") < work(step, "dense") < 3 * work(forward, "dense")


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "label"), [(3, "L-k3"), (5, "L-k5")])
def test_the_published_hours_of_the_largest(kernel: int, label: str) -> None:
    dry = DryNetwork(mednext("L", kernel, 1, 14))
    run = dry.train((128, 128, 128), 2, torch.bfloat16, checkpointing=True)
    time = estimate_time(run.work, dry.weights_bytes, find_sheet("a100"))
    assert time.hours() == pytest.approx(REVISITED[label].a100_hours, rel=0.1)
    assert time.floor_hours() < time.hours() / 4


def test_this_machines_cpu_is_measured() -> None:
    sheet = find_sheet("cpu")
    assert sheet.plain > 0
    assert sheet.gigabytes_per_second > 0
    assert sheet.training_dtype is torch.float32


def test_an_unknown_sheet_is_refused() -> None:
    with pytest.raises(SettingsError, match="Known: a100, cpu, h100, rtx4090"):
        find_sheet("tpu")
