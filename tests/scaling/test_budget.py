"""What a budget affords."""

from dataclasses import replace

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.scaling.budget import Budget, choose_within, parse_budget
from mednext_cli.scaling.device_sheets import DeviceSheet, find_sheet
from mednext_cli.scaling.specification import ScaleReportSpec

_CPU = DeviceSheet("toy", "a toy", "cpu", 0.01, 0.01, 0.01, 10.0, 1.0)
_NETWORKS = ScaleReportSpec(
    models=("S", "B"), kernels=(3,), widths=(4,), patch_voxels=(32, 32, 32)
).reported()


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("11 GiB, 24 h", Budget(11.0, 24.0)),
        ("24h", Budget(None, 24.0)),
        ("7.5 gb", Budget(7.5, None)),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "11", "11 GiB, 2 GiB", "-1 h", "nan h", "3 apples", "h"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not a budget"):
        parse_budget(text)


def test_a_large_budget_affords_the_largest_as_it_was_asked_for() -> None:
    choice = choose_within(Budget(1000.0, None), _NETWORKS, 2, _CPU)
    assert choice.best.network == "B-k3-w4"
    assert choice.best.patch_voxels == (32, 32, 32)
    assert (choice.best.batch, choice.best.checkpointing) == (2, False)
    assert [one.network for one in choice.runners_up] == ["S-k3-w4"]
    assert choice.beyond == ""


def test_the_patch_that_was_asked_for_is_not_rounded() -> None:
    """Nor to a multiple of 16, which is what plans have."""
    spec = ScaleReportSpec(models=("S",), kernels=(3,), widths=(4,), patch_voxels=(40, 56, 40))
    choice = choose_within(Budget(1000.0, None), spec.reported(), 2, _CPU)
    assert choice.best.patch_voxels == (40, 56, 40)


def test_less_memory_or_less_time_affords_less_and_says_why() -> None:
    whole = choose_within(Budget(1000.0, None), _NETWORKS, 2, _CPU).best
    assert whole.hours is not None
    small = choose_within(Budget(whole.gib / 3, None), _NETWORKS, 2, _CPU)
    assert small.best.gib <= whole.gib / 3
    assert "GiB" in small.beyond
    short = choose_within(Budget(None, whole.hours / 3), _NETWORKS, 2, _CPU)
    assert short.best.hours is not None
    assert short.best.hours <= whole.hours / 3
    assert short.best.multiply_adds < whole.multiply_adds
    assert " h" in short.beyond
    assert "checkpointing" not in short.beyond  # which would take longer still


def test_hours_need_a_device_and_something_must_fit() -> None:
    with pytest.raises(SettingsError, match="--device-sheet"):
        choose_within(Budget(None, 24.0), _NETWORKS, 2, None)
    with pytest.raises(SettingsError, match="nothing fits: the smallest is S-k3-w4"):
        choose_within(Budget(3.5, None), _NETWORKS, 2, None)  # what a GPU holds beside tensors


def test_hours_alone_afford_nothing_that_the_device_cannot_hold() -> None:
    whole = choose_within(Budget(None, 1e9), _NETWORKS, 2, _CPU).best
    small = replace(_CPU, memory_gib=whole.gib / 3)
    choice = choose_within(Budget(None, 1e9), _NETWORKS, 2, small)
    assert choice.best.gib <= small.memory_gib
    assert "GiB" in choice.beyond


def test_memory_is_that_of_the_precision_that_is_trained_in() -> None:
    half, single = (
        choose_within(Budget(1000.0, None), _NETWORKS, 2, None, dtype=dtype).best
        for dtype in (None, torch.float32)
    )
    assert (half.precision, single.precision) == ("bfloat16", "float32")
    assert single.gib > half.gib


def test_a_gpu_affords_by_fused_operators_what_others_have_no_room_for() -> None:
    fused, stock = (
        choose_within(Budget(1000.0, None), _NETWORKS, 2, None, fused=fused).best
        for fused in (True, False)
    )
    assert (fused.operators, stock.operators) == ("fused", "stock")
    assert fused.gib < stock.gib
    assert "fused" in fused.describe()
    single = choose_within(Budget(1000.0, None), _NETWORKS, 2, None, dtype=torch.float32).best
    assert single.operators == "stock"


def test_hours_by_fused_operators_are_fewer() -> None:
    sheet = find_sheet("h100")
    choice = choose_within(Budget(None, 1e9), _NETWORKS, 2, sheet)
    stock = choose_within(Budget(None, 1e9), _NETWORKS, 2, sheet, fused=False)
    assert choice.best.operators == "fused"
    assert choice.best.hours is not None
    assert stock.best.hours is not None
    assert choice.best.hours < stock.best.hours
