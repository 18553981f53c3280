"""A recipe: all that a training run needs beside the data; frozen, checked, all errors at once."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from mednext_cli.settings.mirror_axes import AXES, MirrorAxes

LARGEST_OVERLAP = 0.95  # 8,000 times the tiles of no overlap
_LARGEST = 100.0  # of an augmentation's range


def _check_range(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= limits[0] <= limits[1] <= _LARGEST or limits[1] == 0:
        raise ValueError(
            f"a range is [low, high] with 0 <= low <= high, high above 0 and at most {_LARGEST:g}"
        )
    return limits


def _refuse_truth(value: object) -> object:
    """True is no 1: pydantic would take it so."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


# Upper bounds are where a number can only be a slip, and work would never end or never begin.
_NoTruth = BeforeValidator(_refuse_truth)
Number = Annotated[float, _NoTruth]
Probability = Annotated[Number, Field(ge=0.0, le=1.0)]
Positive = Annotated[Number, Field(gt=0.0)]
NotNegative = Annotated[Number, Field(ge=0.0)]
Count = Annotated[int, _NoTruth, Field(ge=1, le=10**6)]
CountOrZero = Annotated[int, _NoTruth, Field(ge=0, le=10**6)]
Width = Annotated[int, _NoTruth, Field(ge=1, le=4096)]
Kernel = Annotated[Literal[3, 5, 7], _NoTruth]
Size = Annotated[Literal["S", "B", "M", "L"], BeforeValidator(_upper)]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]


def _as_file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text)


@dataclass(frozen=True)
class MayChange:
    """Marks a key that a run which has begun may be given otherwise; without it, none may.

    Attributes:
        why: no result already there depends on it, or it is looked at by itself.
    """

    why: str


_IN_THE_PLAN = MayChange("the plan of the run holds it, which is compared")
_NO_RESULT = MayChange("no result depends on it")
_AFTER_TRAINING = MayChange("the final validation is then made anew")
_HOW_IT_RUNS = MayChange("it is about how the network runs, not what it is")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSettings(_Section):
    """The network.

    `kernel` sets both sides (3 if nothing is said); `encoder_kernel` and `decoder_kernel` together
    take its place. Sizes are those of Table 1 (right) of the paper. `operators` is not about the
    network but how it runs: fused operators where they were measured (auto), always or never. So is
    `checkpointing`: auto is on for M and L, as published.

    Attributes:
        network: `mednext`, or another that `mednext plugins` lists (ours).
        size: blocks and widths of Table 1, right (published).
        kernel: of encoder and decoder, voxels; 3 where nothing is said (published).
        encoder_kernel, decoder_kernel: of each side, both in the place of `kernel` (published).
        base_channels: width at full resolution (published).
        norm: group norm of one channel a group, or layer norm over the channels (published).
        grn: global response normalisation in each block (published, off as there).
        residual: whether a block adds its input (published).
        residual_resampling: whether a resampling block adds its input, resampled (published).
        deep_supervision: whether lower resolutions have outputs of their own (published).
        checkpointing: compute blocks again for the gradient, which saves memory and changes no
            number; auto is on for M and L (published).
        kernels: fused operators of ours where they were measured, always or never (ours).
    """

    network: str = "mednext"
    size: Size = "S"
    kernel: Kernel | None = None
    encoder_kernel: Kernel | None = None
    decoder_kernel: Kernel | None = None
    base_channels: Width = 32
    norm: Literal["group", "layer"] = "group"
    grn: bool = False
    residual: bool = True
    residual_resampling: bool = True
    deep_supervision: bool = True
    checkpointing: Annotated[Literal[True, False, "auto"], _HOW_IT_RUNS] = "auto"
    operators: Annotated[Literal["auto", "fused", "stock"], _HOW_IT_RUNS] = "auto"

    @model_validator(mode="after")
    def _one_way_to_say_kernel(self) -> "ModelSettings":
        separate = (self.encoder_kernel, self.decoder_kernel)
        if None in separate and separate != (None, None):
            raise ValueError("encoder_kernel and decoder_kernel must be given together")
        if self.kernel is not None and separate != (None, None):
            raise ValueError("give either kernel, or encoder_kernel and decoder_kernel")
        return self

    @property
    def kernel_pair(self) -> tuple[int, int]:
        """Kernel of the encoder and of the decoder, voxels."""
        kernel = self.kernel or 3
        return self.encoder_kernel or kernel, self.decoder_kernel or kernel

    @property
    def uses_checkpointing(self) -> bool:
        """Whether the blocks are computed again for the gradient; auto as published."""
        if self.checkpointing == "auto":
            return self.network == "mednext" and self.size in ("M", "L")
        return self.checkpointing

    @property
    def label(self) -> str:
        """Folder name of its runs: ``S-k3`` as published, else what differs: ``S-k3-w16-plain``.

        Networks of another shape or another arithmetic never have the same label.
        """
        encoder, decoder = self.kernel_pair
        kernels = f"k{encoder}" if encoder == decoder else f"k{encoder}-{decoder}"
        other_network = () if self.network == "mednext" else (_as_file_name(self.network),)
        return "-".join((*other_network, self.size, kernels, *self._differences()))

    def _differences(self) -> list[str]:
        published = ModelSettings()
        names = {
            f"w{self.base_channels}": self.base_channels != published.base_channels,
            f"{self.norm}_norm": self.norm != published.norm,
            "grn": self.grn,
            "plain": not self.residual,
            "plain_resampling": not self.residual_resampling,
            "one_head": not self.deep_supervision,
        }
        return [name for name, differs in names.items() if differs]


class TrainingSettings(_Section):
    """Optimisation, as published unless said otherwise (trainer of the MedNeXt repository).

    Attributes:
        epochs: how many; the learning rate falls to 0 over them (published).
        iterations_per_epoch: steps an epoch (published).
        validation_iterations: batches of the check on patches after each epoch (published).
        batch_size: patches a step; left out, the plan's (published).
        patch_voxels: (D, H, W); left out, the plan's (published).
        learning_rate: of the first epoch (published).
        weight_decay: of AdamW, on all parameters (published).
        epsilon: of AdamW; left out, 1e-8, or 1e-4 under float16 (published: 1e-4).
        poly_exponent: the rate falls as ``(1 - epoch / epochs) ** poly_exponent`` (published).
        gradient_clip: largest norm of the gradient (published).
        oversample_foreground: share of patches centred on a foreground voxel (published).
        precision: auto is bfloat16 or float16 on CUDA, float32 elsewhere (published: float16).
        folds: parts that the cases are split into; one of them validates (published).
        seed: of weights, folds and patches (published: 12345 for the folds).
        workers: processes that prepare batches; left out, as many as suit the machine, 0 prepares
            them in the main process (ours).
        checkpoint_minutes: how much work a killed run may lose at most (ours).
    """

    epochs: Annotated[Count, MayChange("--extend is asked for")] = 1000
    iterations_per_epoch: Count = 250
    validation_iterations: CountOrZero = 50
    batch_size: Annotated[Width | None, _IN_THE_PLAN] = None
    patch_voxels: Annotated[tuple[Width, Width, Width] | None, _IN_THE_PLAN] = None
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 3e-5
    epsilon: Positive | None = None
    poly_exponent: Annotated[NotNegative, Field(le=100.0)] = 0.9
    gradient_clip: Positive = 12.0
    oversample_foreground: Probability = 1 / 3
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    folds: Annotated[Count, Field(ge=2)] = 5
    seed: Annotated[int, _NoTruth, Field(ge=0, lt=2**32)] = 12345
    workers: Annotated[Annotated[CountOrZero, Field(le=1024)] | None, _NO_RESULT] = None
    checkpoint_minutes: Annotated[Positive, _NO_RESULT] = 5.0


class AugmentationSettings(_Section):
    """nnU-Net v1's list ("moreDA"), probabilities per sample; facts in docs/concepts/recipe.md.

    Attributes:
        rotation: probability (published).
        rotation_degrees: largest rotation about each axis (published).
        scaling: probability of a zoom (published).
        scaling_range: of the zoom; below and above 1 are equally likely (published).
        noise: probability of Gaussian noise (published).
        noise_range: of its variance (published).
        blur: probability of a Gaussian blur (published).
        blur_sigma_voxels: range of its width (published).
        brightness: probability (published).
        brightness_range: factors of all intensities (published).
        contrast: probability (published).
        contrast_range: factors about the mean (published).
        low_resolution: probability of sampling down and up again (published).
        low_resolution_range: of the zoom down (published).
        gamma: probability of a gamma curve (published).
        gamma_inverted: probability of one on the inverted image (published).
        gamma_range: of the exponent (published).
        mirror_axes: axes that may be flipped, named by the patient; leave out any that tells
            classes apart, as front and back of the hippocampus (published: all).
    """

    rotation: Probability = 0.2
    rotation_degrees: Annotated[NotNegative, Field(le=180.0)] = 30.0
    scaling: Probability = 0.2
    scaling_range: Range = (0.7, 1.4)
    noise: Probability = 0.1
    noise_range: Range = (0.0, 0.1)
    blur: Probability = 0.2
    blur_sigma_voxels: Range = (0.5, 1.0)
    brightness: Probability = 0.15
    brightness_range: Range = (0.75, 1.25)
    contrast: Probability = 0.15
    contrast_range: Range = (0.75, 1.25)
    low_resolution: Probability = 0.25
    low_resolution_range: Range = (0.5, 1.0)
    gamma: Probability = 0.3
    gamma_inverted: Probability = 0.1
    gamma_range: Range = (0.7, 1.5)
    mirror_axes: MirrorAxes = AXES

    @property
    def mirrored(self) -> tuple[int, ...]:
        """The mirrored axes as positions in (D, H, W)."""
        return tuple(AXES.index(axis) for axis in self.mirror_axes)


class InferenceSettings(_Section):
    """Sliding window of the final validation, and the default of `mednext predict`.

    Attributes:
        overlap: of neighbouring tiles, as a share of their length (published).
        mirror: average predictions over the mirrored axes (published).
    """

    overlap: Annotated[NotNegative, Field(le=LARGEST_OVERLAP), _AFTER_TRAINING] = 0.5
    mirror: Annotated[bool, _AFTER_TRAINING] = True


class Recipe(_Section):
    """What a training run needs beside the data."""

    description: Annotated[str, _NO_RESULT] = ""
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    inference: InferenceSettings = InferenceSettings()


def recipe_fields(model: type[BaseModel] = Recipe, prefix: str = "") -> dict[str, FieldInfo]:
    """Every key a recipe may hold, dotted, with its type, bounds and default."""
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            found |= recipe_fields(section, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = field
    return found


def changeable_keys() -> frozenset[str]:
    """The keys that may change in a run that has begun, dotted."""
    return frozenset(
        key
        for key, field in recipe_fields().items()
        if any(isinstance(mark, MayChange) for mark in field.metadata)
    )
