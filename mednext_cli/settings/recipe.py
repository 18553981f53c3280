"""A recipe: all that a training run needs beside the data; frozen, checked, all errors at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.fields import FieldInfo

from mednext_cli.foundation.names import check_name
from mednext_cli.settings.growth import GROWTH, Growth
from mednext_cli.settings.mirror_axes import AXES, MirrorAxes

DEFAULT_NETWORK = "mednext"
LARGEST_OVERLAP = 0.95  # 8,000 times the tiles of no overlap
_LARGEST = 100.0  # of an augmentation's range


def _check_range(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= limits[0] <= limits[1] <= _LARGEST or limits[1] == 0:
        raise ValueError(
            f"a range is [low, high] with 0 <= low <= high, high above 0 and at most {_LARGEST:g}"
        )
    return limits


def refuse_truth(value: object) -> object:
    """True is no 1: pydantic would take it so."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


# Upper bounds are where a number can only be a slip, and work would never end or never begin.
_NoTruth = BeforeValidator(refuse_truth)
Number = Annotated[float, _NoTruth]
Probability = Annotated[Number, Field(ge=0.0, le=1.0)]
Positive = Annotated[Number, Field(gt=0.0)]
NotNegative = Annotated[Number, Field(ge=0.0)]
Count = Annotated[int, _NoTruth, Field(ge=1, le=10**6)]
CountOrZero = Annotated[int, _NoTruth, Field(ge=0, le=10**6)]
Width = Annotated[int, _NoTruth, Field(ge=1, le=4096)]
Choice = Literal[True, False, "auto"]
Operators = Literal["auto", "fused", "stock"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
OptimiserName = Literal["adamw", "sgd"]
NetworkName = Annotated[str, AfterValidator(check_name)]
PathText = Annotated[str, Field(min_length=1, max_length=4096)]
Table = dict[str, Any]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]


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
_WHAT_IT_HOLDS = MayChange("what it holds is compared, wherever it lies by now")
_HOW_IT_RUNS = MayChange("it is about how the network runs, not what it is")


class Section(BaseModel):
    """A table of a recipe: never changed, and with no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSettings(Section):
    """The network, and how it runs.

    What of the network can be chosen is a table of its own, `[model.NAME]`, which the network's
    family validates: here it is plain values. Tables of other networks may stand beside it; they
    are not used.

    Attributes:
        network: `mednext`, or another that `mednext plugins` lists (ours).
        deep_supervision: whether lower resolutions have outputs of their own; auto where the
            network can (published).
        checkpointing: compute activations again for the gradient, which saves memory and changes
            no number; auto as the network does by itself, MedNeXt M and L (published).
        operators: fused operators where they were measured (auto), always or never (ours).
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Table]  # by the name of a family

    network: NetworkName = DEFAULT_NETWORK
    deep_supervision: Choice = "auto"
    checkpointing: Annotated[Choice, _HOW_IT_RUNS] = "auto"
    operators: Annotated[Operators, _HOW_IT_RUNS] = "auto"

    @property
    def table(self) -> Table:
        """The values of the network's own table; empty where it has none."""
        return dict(self.__pydantic_extra__.get(self.network, {}))


class InitSettings(Section):
    """The first weights, where they are not drawn by the seed: those of another run.

    A path is that of a run's folder, whose last checkpoint is taken, of the folder above, whose run
    of the same fold is, or of a checkpoint. It is relative to the working directory. The weights
    are in the run once it has begun: to go on it needs no other file.

    Attributes:
        upkern: of which weights, whose kernels grow to the network's own where they are smaller
            (published, for kernels of 5).
        checkpoint: of which weights, as `--init` takes them; the kernels must be the network's
            (ours).
        growth: how `upkern` makes a kernel of a smaller one: by interpolation (published),
            with zeros around it, so that the network computes what it did before, or by its nearest
            voxels; left out, `trilinear` (published).
    """

    upkern: Annotated[PathText | None, _WHAT_IT_HOLDS] = None
    checkpoint: Annotated[PathText | None, _WHAT_IT_HOLDS] = None
    growth: Growth | None = None

    @model_validator(mode="before")
    @classmethod
    def _grow_as_published(cls, values: object) -> object:
        """A resolved recipe says how kernels grow."""
        if not isinstance(values, Mapping) or values.get("upkern") is None:
            return values
        return {**values, "growth": values.get("growth") or GROWTH}

    @model_validator(mode="after")
    def _refuse_two_beginnings(self) -> Self:
        if self.upkern is not None and self.checkpoint is not None:
            raise ValueError("give upkern or checkpoint, not both")
        if self.upkern is None and self.growth is not None:
            raise ValueError("growth is upkern's, which is not given: leave it out")
        return self

    @property
    def path(self) -> str | None:
        """Of the run or checkpoint to begin from; None draws the first weights."""
        return self.upkern if self.upkern is not None else self.checkpoint


class TrainingSettings(Section):
    """Optimisation, as published unless said otherwise (trainer of the MedNeXt repository).

    Attributes:
        epochs: how many; the learning rate falls to 0 over them (published).
        minutes: of steps and of waiting for their batches, validation and saving apart; where it is
            given the run ends with the first step after them, the learning rate falls to 0 over
            them, and `epochs` is not used. Left out, `epochs` decides (ours).
        iterations_per_epoch: steps an epoch (published).
        validation_iterations: batches of the check on patches after each epoch (published).
        batch_size: patches a step; left out, the plan's (published).
        patch_voxels: (D, H, W); left out, the plan's (published).
        optimiser: AdamW, or SGD with Nesterov's momentum, as nnU-Net has it (published: AdamW).
        learning_rate: of the first epoch (published).
        momentum: of SGD (published by nnU-Net).
        weight_decay: on all parameters (published).
        epsilon: of AdamW; left out, 1e-8, or 1e-4 under float16 (published: 1e-4).
        poly_exponent: the rate falls as ``(1 - share) ** poly_exponent``, by the share of the
            epochs, or the minutes, that is over (published).
        gradient_clip: largest norm of the gradient (published).
        oversample_foreground: share of patches centred on a foreground voxel (published).
        precision: auto is bfloat16 or float16 on CUDA, float32 elsewhere (published: float16).
        folds: parts that the cases are split into; one of them validates (published).
        cases: how many of a fold's training cases are used, drawn by `seed`: the same for every
            network, and a smaller number's are among a larger one's; left out, all (ours).
        seed: of weights, patches and drawn `cases` (published: 12345, which the folds always have).
        workers: processes that prepare batches; left out, as many as suit the machine, 0 prepares
            them in the main process (ours).
        checkpoint_minutes: how much work a killed run may lose at most (ours).
    """

    epochs: Annotated[Count, MayChange("--extend is asked for")] = 1000
    minutes: Positive | None = None
    iterations_per_epoch: Count = 250
    validation_iterations: CountOrZero = 50
    batch_size: Annotated[Width | None, _IN_THE_PLAN] = None
    patch_voxels: Annotated[tuple[Width, Width, Width] | None, _IN_THE_PLAN] = None
    optimiser: OptimiserName = "adamw"
    learning_rate: Positive = 1e-3
    momentum: Annotated[NotNegative, Field(lt=1.0)] = 0.99
    weight_decay: NotNegative = 3e-5
    epsilon: Positive | None = None
    poly_exponent: Annotated[NotNegative, Field(le=100.0)] = 0.9
    gradient_clip: Positive = 12.0
    oversample_foreground: Probability = 1 / 3
    precision: Precision = "auto"
    folds: Annotated[Count, Field(ge=2)] = 5
    cases: Count | None = None
    seed: Annotated[int, _NoTruth, Field(ge=0, lt=2**32)] = 12345
    workers: Annotated[Annotated[CountOrZero, Field(le=1024)] | None, _NO_RESULT] = None
    checkpoint_minutes: Annotated[Positive, _NO_RESULT] = 5.0

    @model_validator(mode="after")
    def _refuse_epsilon_of_sgd(self) -> Self:
        if self.optimiser == "sgd" and self.epsilon is not None:
            raise ValueError("epsilon is AdamW's, and the optimiser is sgd: leave it out")
        return self


class AugmentationSettings(Section):
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


class InferenceSettings(Section):
    """Sliding window of the final validation, and the default of `mednext predict`.

    Attributes:
        overlap: of neighbouring tiles, as a share of their length (published).
        mirror: average predictions over the mirrored axes (published).
    """

    overlap: Annotated[NotNegative, Field(le=LARGEST_OVERLAP), _AFTER_TRAINING] = 0.5
    mirror: Annotated[bool, _AFTER_TRAINING] = True


class Recipe(Section):
    """What a training run needs beside the data."""

    description: Annotated[str, _NO_RESULT] = ""
    model: ModelSettings = ModelSettings()
    init: InitSettings = InitSettings()
    training: TrainingSettings = TrainingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    inference: InferenceSettings = InferenceSettings()


def recipe_fields(model: type[BaseModel] = Recipe, prefix: str = "") -> dict[str, FieldInfo]:
    """Every key a recipe may hold beside its network's own, with its type, bounds and default."""
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


def resultless_keys() -> frozenset[str]:
    """The keys on which no result depends, dotted: how a run is run and what it is called."""
    return frozenset(
        key
        for key, field in recipe_fields().items()
        if any(mark in (_NO_RESULT, _HOW_IT_RUNS) for mark in field.metadata)
    )
