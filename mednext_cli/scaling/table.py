"""The rows and columns of scale_report.csv."""

from dataclasses import dataclass

from mednext_cli.foundation.columns import Column, Table
from mednext_cli.scaling.published import SOURCE

_HALF = "bfloat16 or float16 autocast, weights and optimiser in float32"
SCALE_REPORT = Table(
    "scale_report.csv",
    "One row per network, by `mednext scale-report`. What was not published, not asked for "
    "(`--device-sheet`, `--effective-field`) or not measured (`--measure`) is empty. Memory is "
    f"estimated; half is {_HALF}.",
    (
        Column("network", "Its label, as in the folder of its runs."),
        Column("model", "Size of MedNeXt."),
        Column("kernel", "Depthwise kernel of MedNeXt.", "voxels"),
        Column("width", "Channels of MedNeXt at full resolution."),
        Column("patch", "Patch, D x H x W.", "voxels"),
        Column("batch", "Patches a training step."),
        Column("parameters", "Trainable parameters, all heads."),
        Column("multiply_adds", "Of convolutions and products of matrices, one patch, all heads."),
        Column(
            "multiply_adds_and_norms",
            "The same plus 5 per normalised value, as the published counter does.",
        ),
        Column(
            "receptive_field",
            "What an output voxel depends on by the shapes, norms left out, D x H x W; empty for "
            "attention.",
            "voxels",
        ),
        Column(
            "effective_field",
            "Edge of the cube of voxels with at least 4.55 % of the largest gradient, untrained.",
            "voxels",
        ),
        Column("weights_gib", "Memory of the weights, float32.", "GiB"),
        Column("training_float32_gib", "Peak of an AdamW step, float32.", "GiB"),
        Column(
            "training_float32_checkpointed_gib",
            "The same with gradient checkpointing, float32.",
            "GiB",
        ),
        Column("inference_float32_gib", "Peak for one patch, float32.", "GiB"),
        Column("training_half_gib", "Peak of an AdamW step, half.", "GiB"),
        Column(
            "training_half_checkpointed_gib", "The same with gradient checkpointing, half.", "GiB"
        ),
        Column(
            "training_half_fused_gib",
            "The same by fused operators and without checkpointing, half; empty without them.",
            "GiB",
        ),
        Column("inference_half_gib", "Peak for one patch, half.", "GiB"),
        Column("checkpointing", "Whether it is trained with gradient checkpointing by default."),
        Column("published_parameters_millions", "As published.", "millions"),
        Column("parameters_deviation_percent", "Ours against published.", "%"),
        Column("published_multiply_adds_giga", "As published, for a patch of 128 voxels.", "10^9"),
        Column("multiply_adds_deviation_percent", "Ours against published.", "%"),
        Column("published_a100_hours", f"Of one training on an A100: {SOURCE}.", "h"),
        Column("published_vram_gb", "Of the GPU in that training.", "GB"),
        Column("published_dice_percent", "Mean Dice over six datasets, from there.", "%"),
        Column("sheet", "Device that the estimates are of."),
        Column("sheet_precision", "Precision of the estimates."),
        Column("estimated_floor_step_seconds", "Estimate: by the device's peaks.", "s"),
        Column("estimated_step_seconds", "Estimate: with stock libraries.", "s"),
        Column("estimated_floor_hours", "Estimate: 250,000 steps by the device's peaks.", "h"),
        Column("estimated_hours", "Estimate: 250,000 steps with stock libraries.", "h"),
        Column(
            "estimated_fused_hours",
            "Estimate: 250,000 steps by fused operators and without checkpointing.",
            "h",
        ),
        Column("forward_seconds", "Measured: one patch, no gradients, median.", "s"),
        Column("forward_spread_seconds", "Measured: half the quartiles' distance.", "s"),
        Column("forward_gib", "Measured: peak of that, in `precision`.", "GiB"),
        Column("step_seconds", "Measured: forward, loss and backward of a batch, median.", "s"),
        Column("step_spread_seconds", "Measured: half the quartiles' distance.", "s"),
        Column("step_gib", "Measured: peak of that, in `precision`, no optimiser.", "GiB"),
        Column("training_hours", "Measured seconds a step times 250,000 steps.", "h"),
        Column("precision", "Number format of the measurement."),
        Column("device", "Where it was measured."),
        Column("note", "Why something deviates or is missing."),
    ),
    digits=4,
)
BUDGET = Table(
    "budget.csv",
    "One row per network that `mednext scale-report --budget` affords, the largest first, each "
    "with the largest patch and batch that fit.",
    (
        Column("network", "Its label."),
        Column("patch", "Patch, D x H x W.", "voxels"),
        Column("batch", "Patches a training step."),
        Column("precision", "Of the forward pass."),
        Column("operators", "`stock` libraries, or `fused` operators."),
        Column("checkpointing", "Whether with gradient checkpointing."),
        Column("multiply_adds", "Of a step's forward pass."),
        Column(
            "gib",
            "Estimated for the device, in `precision`; on a GPU with 3.5 GiB beside the tensors.",
            "GiB",
        ),
        Column("hours", "Estimated for the device sheet, by these operators.", "h"),
        Column("dice", f"Published for that patch and batch: mean of six datasets, {SOURCE}.", "%"),
    ),
    digits=4,
)


@dataclass(frozen=True)
class ScaleRow:
    """One network; `SCALE_REPORT` says what each field means."""

    network: str
    model: str
    kernel: int | None
    width: int | None
    patch: str
    batch: int
    parameters: int
    multiply_adds: int
    multiply_adds_and_norms: int
    receptive_field: str
    effective_field: float | None
    weights_gib: float
    training_float32_gib: float
    training_float32_checkpointed_gib: float
    inference_float32_gib: float
    training_half_gib: float
    training_half_checkpointed_gib: float
    training_half_fused_gib: float | None
    inference_half_gib: float
    checkpointing: str
    published_parameters_millions: float | None = None
    parameters_deviation_percent: float | None = None
    published_multiply_adds_giga: float | None = None
    multiply_adds_deviation_percent: float | None = None
    published_a100_hours: float | None = None
    published_vram_gb: float | None = None
    published_dice_percent: float | None = None
    sheet: str = ""
    sheet_precision: str = ""
    estimated_floor_step_seconds: float | None = None
    estimated_step_seconds: float | None = None
    estimated_floor_hours: float | None = None
    estimated_hours: float | None = None
    estimated_fused_hours: float | None = None
    forward_seconds: float | None = None
    forward_spread_seconds: float | None = None
    forward_gib: float | None = None
    step_seconds: float | None = None
    step_spread_seconds: float | None = None
    step_gib: float | None = None
    training_hours: float | None = None
    precision: str = ""
    device: str = ""
    note: str = ""
