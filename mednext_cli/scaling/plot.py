"""The picture of the scaling report."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mednext_cli.foundation.files import replacing
from mednext_cli.scaling.table import ScaleRow

_SIZE_INCHES = (11.0, 4.5)
_DOTS_PER_INCH = 120


def plot_report(rows: Sequence[ScaleRow], path: Path) -> None:
    """Draw parameters against multiply-adds (ours and published) and memory of training."""
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    costs, memory = figure.subplots(1, 2)
    _draw_costs(costs, rows)
    _draw_memory(memory, rows)
    with replacing(path) as beside:
        figure.savefig(beside, dpi=_DOTS_PER_INCH)


def _name(row: ScaleRow) -> str:
    return f"{row.model} k{row.kernel}"


def _draw_costs(axes: Axes, rows: Sequence[ScaleRow]) -> None:
    axes.scatter(
        [row.parameters / 1e6 for row in rows],
        [row.multiply_adds / 1e9 for row in rows],
        label="here",
    )
    for row in rows:
        place = (row.parameters / 1e6, row.multiply_adds / 1e9)
        axes.annotate(_name(row), place, xytext=(5, -11), textcoords="offset points")
    published = [
        (row.published_parameters_millions, row.published_multiply_adds_giga)
        for row in rows
        if row.published_parameters_millions and row.published_multiply_adds_giga
    ]
    if published:
        axes.scatter(*zip(*published, strict=True), marker="x", label="published")
        axes.legend()
    axes.margins(0.12)
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel("multiply-adds, 10⁹")
    axes.set_title(f"one patch of {rows[0].patch} voxels")


def _draw_memory(axes: Axes, rows: Sequence[ScaleRow]) -> None:
    places = range(len(rows))
    for offset, label, values in (
        (-0.27, "training", [row.training_gib for row in rows]),
        (0.0, "with checkpointing", [row.training_checkpointed_gib for row in rows]),
        (0.27, "inference", [row.inference_gib for row in rows]),
    ):
        axes.bar([place + offset for place in places], values, width=0.27, label=label)
    axes.set_xticks(list(places), [_name(row) for row in rows])
    axes.set_ylabel("estimated peak memory, GiB (float32)")
    axes.legend()
