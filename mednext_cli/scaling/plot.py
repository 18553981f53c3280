"""The picture of the scaling report: what each network gives and costs, on logarithmic axes."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mednext_cli.foundation.files import replacing
from mednext_cli.scaling.table import ScaleRow

_SIZE_INCHES = (11.0, 4.8)
_DOTS_PER_INCH = 120
Point = tuple[float, float]


def plot_report(rows: Sequence[ScaleRow], path: Path) -> None:
    """Draw multiply-adds against memory, and against hours or, where none are known, parameters.

    A line joins the frontier: networks for which no other one does more for less.
    """
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    memory, other = figure.subplots(1, 2)
    _draw(memory, rows, [_step_gib(row) for row in rows])
    memory.set_ylabel(f"GiB of a step of {rows[0].batch}, half precision, estimated")
    hours = [_hours(row) for row in rows]
    if all(value is not None for value in hours):
        _draw(other, rows, [value for value in hours if value is not None])
        other.set_ylabel("hours of 250,000 steps")
        other.set_title(_source(rows[0]), fontsize=9)
        _cross(other, [(row.multiply_adds, row.published_a100_hours) for row in rows], "A100 hours")
    else:
        _draw(other, rows, [row.parameters / 1e6 for row in rows])
        other.set_ylabel("parameters, millions")
        said = [
            (1e9 * (row.published_multiply_adds_giga or 0), row.published_parameters_millions)
            for row in rows
        ]
        _cross(other, said, "MedNeXt's README")
    with replacing(path) as beside:
        figure.savefig(beside, dpi=_DOTS_PER_INCH)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Those of (gain, cost) for which no other one has as much gain at less cost, by gain."""
    kept: list[Point] = []
    for point in sorted(set(points), key=lambda point: (-point[0], point[1])):
        if not kept or point[1] < kept[-1][1]:
            kept.append(point)
    return kept[::-1]


def _step_gib(row: ScaleRow) -> float:
    checkpointed = row.checkpointing == "on"
    return row.training_half_checkpointed_gib if checkpointed else row.training_half_gib


def _hours(row: ScaleRow) -> float | None:
    return row.estimated_hours if row.training_hours is None else row.training_hours


def _source(row: ScaleRow) -> str:
    if row.training_hours is None:
        return f"estimated: {row.sheet}"
    return f"measured: {row.device}, {row.precision}"


def _draw(axes: Axes, rows: Sequence[ScaleRow], costs: Sequence[float]) -> None:
    points = [(row.multiply_adds / 1e9, cost) for row, cost in zip(rows, costs, strict=True)]
    axes.scatter(*zip(*points, strict=True))
    axes.plot(*zip(*frontier(points), strict=True), linewidth=0.8, label="frontier")
    for row, point in zip(rows, points, strict=True):
        axes.annotate(row.network, point, xytext=(5, -11), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.margins(0.15)
    axes.set_xlabel("multiply-adds of a patch, 10⁹")
    axes.set_title(f"patches of {_patches(rows)} voxels", fontsize=10)
    axes.legend(fontsize=8)


def _cross(axes: Axes, points: Sequence[tuple[float, float | None]], source: str) -> None:
    known = [(gain / 1e9, cost) for gain, cost in points if cost is not None]
    if known:
        axes.scatter(*zip(*known, strict=True), marker="x", label=f"published: {source}")
        axes.legend(fontsize=8)


def _patches(rows: Sequence[ScaleRow]) -> str:
    patches = list(dict.fromkeys(row.patch for row in rows))
    return patches[0] if len(patches) == 1 else "several"
