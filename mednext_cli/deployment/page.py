"""clinical.html: one page without network, for who decides what to install."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mednext_cli.deployment.bars import BarPlot, plot_bars
from mednext_cli.deployment.configurations import Configuration
from mednext_cli.deployment.doubts import problem_of
from mednext_cli.deployment.machine import describe_system
from mednext_cli.deployment.measurement import LOAD, START, Failure, Measurement
from mednext_cli.deployment.summary import WHOLE, StageSummary, summarise
from mednext_cli.deployment.table import Measured, by
from mednext_cli.evaluation.pages.page import render_page
from mednext_cli.foundation.files import write_text
from mednext_cli.foundation.progress import format_seconds
from mednext_cli.inference.stages import STAGES

_PACKAGE = "mednext_cli.deployment"


@dataclass(frozen=True)
class _Row:
    """One configuration: its settings, and either its figures or why there are none."""

    settings: tuple[str, ...]
    cells: tuple[str, ...]
    problem: str = ""


@dataclass(frozen=True)
class _Section:
    """One network on one scan."""

    title: str
    about: str
    rows: tuple[_Row, ...]
    plot: BarPlot | None


@dataclass(frozen=True)
class _Card:
    """The fastest configuration of a section."""

    name: str
    figure: str
    details: str


def write_page(path: Path, measured: Sequence[Measured], missing: int) -> None:
    """Write the page.

    Args:
        path: the file.
        measured: all configurations that were measured or failed, those of a section together.
        missing: how many are still to be measured.

    Raises:
        StorageError: it cannot be written.
    """
    grouped = [
        list(group) for _, group in groupby(measured, lambda one: (one[0].subject, one[0].scan))
    ]
    text = render_page(
        "clinical.html.jinja",
        _PACKAGE,
        facts=_facts(measured),
        cards=[card for card in map(_card, grouped) if card is not None],
        sections=[_section(group) for group in grouped],
        columns=_columns(measured),
        missing=missing,
        doubts=[
            f"{one.name}: {problem_of(one, found)}"
            for one, found in measured
            if isinstance(found, Measurement) and problem_of(one, found)
        ],
        total=len(measured) + missing,
        untrained=not all(one.subject.trained for one, _ in measured),
        repeats=measured[0][0].repeats,
    )
    write_text(path, text)


def _facts(measured: Sequence[Measured]) -> dict[str, str]:
    days = sorted(found.measured[:10] for _, found in measured if isinstance(found, Measurement))
    return {
        "Machine": measured[0][0].machine,
        "System": describe_system(),
        "Versions": ", ".join(_unique(one.versions for one, _ in measured)),
        "Device of the networks": str(measured[0][0].device),
        "Measured": " to ".join(dict.fromkeys((days[0], days[-1]))) if days else "nothing yet",
    }


def _unique(listings: Iterable[str]) -> dict[str, None]:
    """What stands in any of the listings, once."""
    return dict.fromkeys(entry for listing in listings for entry in listing.split(", "))


def _whole(found: Measurement) -> StageSummary:
    return summarise(found)[WHOLE]


def _seconds(summary: StageSummary) -> float:
    """Warm, as there is always one such prediction."""
    return summary.median_seconds or summary.cold_seconds


def _card(group: Sequence[Measured]) -> _Card | None:
    done = [(one, _whole(found)) for one, found in group if isinstance(found, Measurement)]
    if not done:
        return None
    one, best = min(done, key=lambda pair: _seconds(pair[1]))
    choice = "" if len(done) == 1 else f"the fastest of {len(done)}: "
    return _Card(
        f"{one.subject.name} on {one.scan.name}",
        _spoken(_seconds(best)),
        f"{choice}{_setting(one)}; {_spoken(best.cold_seconds)} cold; {_memory(best)}",
    )


def _memory(summary: StageSummary) -> str:
    text = f"{summary.peak_gib:.1f} GiB of memory"
    return text if summary.device_gib is None else f"{text}, {summary.device_gib:.1f} on the GPU"


def _setting(one: Configuration) -> str:
    return f"{one.engine}, {one.precision}, {one.threads} thread{'' if one.threads == 1 else 's'}"


def _section(group: Sequence[Measured]) -> _Section:
    one = group[0][0]
    found = next((found for _, found in group if isinstance(found, Measurement)), None)
    bars = [
        (_setting(one), _warm_stages(found), _spoken(_seconds(_whole(found))))
        for one, found in group
        if isinstance(found, Measurement)
    ]
    return _Section(
        title=f"{one.subject.name} on {one.scan.name}",
        about=_about(one, found),
        rows=tuple(_row(one, found) for one, found in group),
        plot=plot_bars(bars) if bars else None,
    )


def _warm_stages(found: Measurement) -> dict[str, float]:
    summaries = summarise(found)
    return {stage: _seconds(summaries[stage]) for stage in STAGES}


def _about(one: Configuration, found: Measurement | None) -> str:
    """Volume, spacing after resampling, tiles, overlap and mirroring, in sentences."""
    subject, scan = one.subject, one.scan
    spacing = by([round(length, 4) for length in scan.grid.spacing_mm])
    channels = "1 channel" if scan.channels == 1 else f"{scan.channels} channels"
    seen = f"{by(found.prepared_voxels)} voxels" if found else "voxels"
    tiles = f"{found.tiles} tiles" if found else "Tiles"
    mirrored = f"{subject.mirrorings} mirrorings" if subject.mirrorings > 1 else "no mirroring"
    untrained = "" if subject.trained else "Untrained: "
    return (
        f"{scan.about}: {by(scan.grid.shape)} voxels of {spacing} mm, {channels}; cropped and "
        f"resampled to {seen} of {by(subject.plan.spacing_mm)} mm (depth, height, width). "
        f"{tiles} of {by(subject.plan.patch_voxels)} voxels that overlap by "
        f"{subject.models[0].overlap:.0%}, {mirrored}. {untrained}"
        f"{subject.parameters / 1e6:.1f} million parameters, "
        f"{subject.plan.output_channels} classes."
    )


def _columns(measured: Sequence[Measured]) -> list[str]:
    names = [
        "engine",
        "precision",
        "threads",
        "prediction, median",
        "fastest to slowest",
        "cold",
        "start and load",
        *STAGES,
        "cores busy in network",
        "peak memory, GiB",
    ]
    return [*names, "peak on the GPU, GiB"] if _on_gpu(measured[0][0]) else names


def _on_gpu(one: Configuration) -> bool:
    return one.device.type == "cuda"


def _row(one: Configuration, found: Measurement | Failure) -> _Row:
    settings = (one.engine, one.precision, str(one.threads))
    if isinstance(found, Failure):
        return _Row(settings, (), found.problem)
    summaries = summarise(found)
    whole = summaries[WHOLE]
    cells = [
        _number(_seconds(whole)),
        f"{_number(whole.fastest_seconds or 0.0)} to {_number(whole.slowest_seconds or 0.0)}",
        _number(whole.cold_seconds),
        _number(summaries[START].cold_seconds + summaries[LOAD].cold_seconds),
        *(_number(_seconds(summaries[stage])) for stage in STAGES),
        f"{summaries['network'].cores:.2f}",
        f"{max(summary.peak_gib for summary in summaries.values()):.2f}",
    ]
    if _on_gpu(one):
        cells.append(f"{whole.device_gib or 0.0:.2f}")
    return _Row(settings, tuple(cells))


def _number(seconds: float) -> str:
    """Three digits, or whole seconds."""
    return (
        f"{seconds:.2f}"
        if seconds < 10
        else f"{seconds:.1f}"
        if seconds < 100
        else f"{seconds:.0f}"
    )


def _spoken(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else format_seconds(seconds)
