"""Drawings, summaries, bars and processes that die."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.datasets.dataset import Case
from mednext_cli.deployment import process
from mednext_cli.deployment.bars import plot_bars
from mednext_cli.deployment.counting import TilesLeft
from mednext_cli.deployment.drawing import draw_ct, draw_mr
from mednext_cli.deployment.measurement import COLD_STAGES, Measurement, StageCost
from mednext_cli.deployment.precision import _has_bfloat16, missing_precision
from mednext_cli.deployment.summary import WHOLE, summarise
from mednext_cli.deployment.task import Task
from mednext_cli.inference.stages import STAGES
from mednext_cli.volumes.volume import Grid
from tests.deployment.deadly import dies

GRID = Grid((40, 36, 20), np.diag([-8.0, -8.0, 10.0, 1.0]))
TASK = Task((), Case("none", ()), Path("none"), "torch", "auto", 1, "cpu", None, None, 1, (1, 1, 1))


def test_the_ct_has_air_fat_and_bone_and_lies_upright() -> None:
    (voxels,) = draw_ct(GRID, 1)
    assert voxels.shape == GRID.shape
    assert voxels.min() < -900
    assert voxels.max() > 200
    back, front = voxels[:, 18:], voxels[:, :18]  # the second axis runs to the back
    assert (back > 250).sum() > (front > 250).sum()  # where the spine is


def test_the_mr_is_zero_outside_the_head_in_every_channel() -> None:
    channels = draw_mr(GRID, 3)
    outside = [voxels == 0 for voxels in channels]
    assert all(np.array_equal(outside[0], other) for other in outside)
    assert outside[0][0].all()
    assert not outside[0][20, 18, 10]
    assert len({float(voxels.mean()) for voxels in channels}) == 3


def _cost(seconds: float, peak: float = 1.0) -> StageCost:
    return StageCost(seconds=seconds, cores=1.0, peak_gib=peak)


def test_medians_and_spread_are_of_the_warm_predictions() -> None:
    warm = [{stage: _cost(seconds) for stage in STAGES} for seconds in (1.0, 2.0, 6.0)]
    warm[1]["network"] = _cost(2.0, peak=3.0)
    found = Measurement(
        cold={stage: _cost(9.0) for stage in COLD_STAGES},
        warm=tuple(warm),
        tiles=1,
        prepared_voxels=(1, 1, 1),
        measured="2026-01-01",
    )
    summaries = summarise(found)
    whole = summaries[WHOLE]
    assert whole.cold_seconds == 45.0
    assert (whole.median_seconds, whole.fastest_seconds, whole.slowest_seconds) == (10, 5, 30)
    assert whole.peak_gib == summaries["network"].peak_gib == 3.0
    assert summaries["load"].median_seconds is None


def test_bars_are_as_long_as_their_stages() -> None:
    plot = plot_bars([("a", {"read": 1.0, "network": 3.0}, "4 s"), ("b", {"read": 2.0}, "2 s")])
    (read, network), (other,) = (bar.segments for bar in plot.bars)
    assert network.width == pytest.approx(3 * read.width, rel=0.01)
    assert other.width == pytest.approx(2 * read.width, rel=0.01)
    assert [text for _, text in plot.ticks] == ["0", "1", "2", "3", "4"]


class _Bar:
    total, done, note = 0, 0, ""

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done, self.note = self.done + steps, note

    def expect(self, total: int) -> None:
        self.total = total


def test_tiles_are_counted_over_all_predictions() -> None:
    bar = _Bar()
    left = TilesLeft(bar, [20, 30])
    left.begin(0, "one", 2)
    left.told("tiles", 4)  # fewer than expected: the scan was cropped
    assert bar.total == 8 + 30
    for _ in range(5):
        left.told("done", 1)
    assert bar.note == "one: prediction 2 of 2"
    left.end()  # it failed
    assert bar.total == 5 + 30


def test_bfloat16_is_for_processors_that_have_it(tmp_path) -> None:
    flags, cpu = tmp_path / "cpuinfo", torch.device("cpu")
    for text, has in (("flags : sse avx512f avx512_bf16", True), ("flags : sse avx2", False)):
        flags.write_text(text)
        assert _has_bfloat16(cpu, flags) is has
    assert _has_bfloat16(cpu, tmp_path / "missing")
    assert missing_precision("float32", cpu) == ""


@pytest.mark.parametrize(
    ("code", "reason"), [(137, "most likely for its memory"), (3, "died with exit code 3")]
)
def test_a_process_that_dies_is_an_answer(code, reason, monkeypatch) -> None:
    monkeypatch.setattr(process, "_measure", dies[code])
    assert reason in process.measure_apart(TASK, lambda kind, count: None).problem
