"""The rows and columns of scale_report.csv."""

from dataclasses import dataclass

from mednext_cli.foundation.columns import Column, Table

SCALE_REPORT = Table(
    "scale_report.csv",
    "One row per network, by `mednext scale-report`. What was not published, or not measured "
    "(`--measure`), is empty.",
    (
        Column("model", "Size of MedNeXt."),
        Column("kernel", "Depthwise kernel.", "voxels"),
        Column("patch", "Patch, D x H x W.", "voxels"),
        Column("parameters", "Trainable parameters, all five heads."),
        Column("multiply_adds", "Of the convolutions, one patch, five heads."),
        Column(
            "multiply_adds_and_norms",
            "The same plus 5 per normalised value, as the published counter does.",
        ),
        Column("weights_gib", "Memory of the weights, float32.", "GiB"),
        Column("training_gib", "Estimated peak of an AdamW step.", "GiB"),
        Column("training_checkpointed_gib", "The same with gradient checkpointing.", "GiB"),
        Column("inference_gib", "Estimated peak for one patch.", "GiB"),
        Column("published_parameters_millions", "As published.", "millions"),
        Column("parameters_deviation_percent", "Ours against published.", "%"),
        Column("published_multiply_adds_giga", "As published, for a patch of 128 voxels.", "10^9"),
        Column("multiply_adds_deviation_percent", "Ours against published.", "%"),
        Column("forward_seconds", "Measured: one patch, no gradients, median.", "s"),
        Column("forward_gib", "Measured: peak of that.", "GiB"),
        Column("step_seconds", "Measured: forward and backward of a batch.", "s"),
        Column("step_gib", "Measured: peak of that.", "GiB"),
        Column("precision", "Number format of the measurement."),
        Column("device", "Where it was measured."),
        Column("note", "Why something deviates or is missing."),
    ),
    digits=4,
)


@dataclass(frozen=True)
class ScaleRow:
    """One network; `SCALE_REPORT` says what each field means."""

    model: str
    kernel: int
    patch: str
    parameters: int
    multiply_adds: int
    multiply_adds_and_norms: int
    weights_gib: float
    training_gib: float
    training_checkpointed_gib: float
    inference_gib: float
    published_parameters_millions: float | None = None
    parameters_deviation_percent: float | None = None
    published_multiply_adds_giga: float | None = None
    multiply_adds_deviation_percent: float | None = None
    forward_seconds: float | None = None
    forward_gib: float | None = None
    step_seconds: float | None = None
    step_gib: float | None = None
    precision: str = ""
    device: str = ""
    note: str = ""
