"""The columns and rows of clinical.csv."""

from collections.abc import Iterator, Sequence

from mednext_cli.deployment.configurations import Configuration
from mednext_cli.deployment.doubts import problem_of
from mednext_cli.deployment.machine import describe_system
from mednext_cli.deployment.measurement import Failure, Measurement
from mednext_cli.deployment.summary import WHOLE, StageSummary, summarise
from mednext_cli.foundation.columns import Column, Table

Measured = tuple[Configuration, Measurement | Failure]

CLINICAL = Table(
    "clinical.csv",
    "One row per configuration and stage, by `mednext scale-report --clinical`. A configuration "
    "that failed has one row that says why.",
    (
        Column("network", "What predicted."),
        Column("parameters", "Of all its networks, with heads that only training needs."),
        Column("trained", "1, or 0 of an untrained network, whose predictions take as long."),
        Column("scan", "What was predicted: ct and mr are made up."),
        Column("voxels", "Of the scan, X x Y x Z.", "voxels"),
        Column("spacing_mm", "Of the scan, the same axes.", "mm"),
        Column("channels", "Of the scan."),
        Column("target_spacing_mm", "What it was resampled to, D x H x W.", "mm"),
        Column("prepared_voxels", "Of it cropped and resampled, D x H x W.", "voxels"),
        Column("patch_voxels", "Of a tile, D x H x W.", "voxels"),
        Column("overlap", "Share of a tile that the next one covers at least."),
        Column("mirrorings", "How often each tile was predicted; 1 is without mirroring."),
        Column("tiles", "That the networks predicted, with mirrorings."),
        Column("classes", "Of the network's output: classes with the background, or regions."),
        Column("device", "Where the network computed."),
        Column("engine", "Of `mednext predict`."),
        Column("precision", "Number format of the network."),
        Column("threads", "Cores that the process could use."),
        Column(
            "stage",
            "`start` (Python and its libraries) and `load` (the network, once a process); `read`, "
            "`prepare` (crop, resample, normalise), `network`, `restore` (classes on the scan's "
            f"grid), `write`; `{WHOLE}` is the sum of these five.",
        ),
        Column("cold_seconds", "With the first scan of a fresh process.", "s"),
        Column("warm_seconds", "With further ones, median; empty of what happens once.", "s"),
        Column("warm_fastest_seconds", "The fastest of these.", "s"),
        Column("warm_slowest_seconds", "The slowest.", "s"),
        Column("repeats", "How many these were."),
        Column("cores", "Processor seconds for each second, median: cores that were busy."),
        Column("peak_gib", "Largest resident memory of the process.", "GiB"),
        Column("device_peak_gib", "Largest memory that PyTorch held on the GPU.", "GiB"),
        Column("machine", "Processor, cores, memory; the GPU."),
        Column("system", "Operating system and Python."),
        Column("versions", "Of mednext and what computes."),
        Column("measured", "When, UTC."),
        Column("problem", "Why it failed, or that the machine was busy with something else."),
    ),
    digits=4,
)


def by(lengths: Sequence[float]) -> str:
    """``0.8 x 0.8 x 1.5``."""
    return " x ".join(f"{length:g}" for length in lengths)


def rows(measured: Sequence[Measured]) -> Iterator[dict[str, object]]:
    """The rows by column name."""
    for configuration, found in measured:
        yield from _rows_of(configuration, found)


def _rows_of(one: Configuration, found: Measurement | Failure) -> Iterator[dict[str, object]]:
    row = dict.fromkeys(CLINICAL.names) | _asked(one)
    if isinstance(found, Failure):
        yield row | {"stage": WHOLE, "tiles": None, "problem": found.problem}
        return
    row |= {
        "prepared_voxels": by(found.prepared_voxels),
        "tiles": found.tiles,
        "measured": found.measured,
    }
    row["problem"] = problem_of(one, found)
    for summary in summarise(found).values():
        yield row | _costs(summary)


def _asked(one: Configuration) -> dict[str, object]:
    """What is known of a configuration before it is measured."""
    subject, scan = one.subject, one.scan
    return {
        "network": subject.name,
        "parameters": subject.parameters,
        "trained": int(subject.trained),
        "scan": scan.name,
        "voxels": by(scan.grid.shape),
        "spacing_mm": by([round(length, 4) for length in scan.grid.spacing_mm]),
        "channels": scan.channels,
        "target_spacing_mm": by(subject.plan.spacing_mm),
        "patch_voxels": by(subject.plan.patch_voxels),
        "overlap": subject.models[0].overlap,
        "mirrorings": subject.mirrorings,
        "classes": subject.plan.output_channels,
        "device": str(one.device),
        "engine": one.engine,
        "precision": one.precision,
        "threads": one.threads,
        "machine": one.machine,
        "system": describe_system(),
        "versions": one.versions,
    }


def _costs(summary: StageSummary) -> dict[str, object]:
    return {
        "stage": summary.stage,
        "cold_seconds": summary.cold_seconds,
        "warm_seconds": summary.median_seconds,
        "warm_fastest_seconds": summary.fastest_seconds,
        "warm_slowest_seconds": summary.slowest_seconds,
        "repeats": len(summary.warm_seconds),
        "cores": summary.cores,
        "peak_gib": summary.peak_gib,
        "device_peak_gib": summary.device_gib,
    }
