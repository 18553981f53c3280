"""The columns of scale_report.csv."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from mednext_cli.foundation.cells import to_cell


def _column(meaning: str) -> float | None:
    column: float | None = field(default=None, metadata={"meaning": meaning})
    return column


@dataclass(frozen=True)
class ScaleRow:
    """One network; the fields are the columns of scale_report.csv, `meaning` says what each is."""

    model: str = field(metadata={"meaning": "size of MedNeXt"})
    kernel: int = field(metadata={"meaning": "depthwise kernel, voxels"})
    patch: str = field(metadata={"meaning": "patch, voxels"})
    parameters: int = field(metadata={"meaning": "trainable parameters, all five heads"})
    multiply_adds: int = field(metadata={"meaning": "of the convolutions, one patch, five heads"})
    multiply_adds_and_norms: int = field(
        metadata={"meaning": "the same plus 5 per normalised value, as the published counter does"}
    )
    weights_gib: float = field(metadata={"meaning": "memory of the weights, GiB (float32)"})
    training_gib: float = field(metadata={"meaning": "estimated peak of an AdamW step, GiB"})
    training_checkpointed_gib: float = field(
        metadata={"meaning": "the same with gradient checkpointing, GiB"}
    )
    inference_gib: float = field(metadata={"meaning": "estimated peak for one patch, GiB"})
    published_parameters_millions: float | None = _column("as published, millions")
    parameters_deviation_percent: float | None = _column("ours against published, percent")
    published_multiply_adds_giga: float | None = _column("as published, 10^9, patch 128^3")
    multiply_adds_deviation_percent: float | None = _column("ours against published, percent")
    forward_seconds: float | None = _column("measured: one patch, no gradients, median seconds")
    forward_gib: float | None = _column("measured: peak of that, GiB")
    step_seconds: float | None = _column("measured: forward and backward of a batch, seconds")
    step_gib: float | None = _column("measured: peak of that, GiB")
    precision: str = field(default="", metadata={"meaning": "number format of the measurement"})
    device: str = field(default="", metadata={"meaning": "where it was measured"})
    note: str = field(default="", metadata={"meaning": "why something deviates or is missing"})


def to_csv(rows: Sequence[ScaleRow]) -> str:
    """The rows as text, columns in the order of `ScaleRow`'s fields."""
    names = [one.name for one in fields(ScaleRow)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(_cell(getattr(row, name)) for name in names)
    return stream.getvalue()


def _cell(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else to_cell(value)
