"""A recipe: all that a training run needs beside the data; frozen, checked, all errors at once."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from mednext_cli.settings.callbacks import CallbackSettings
from mednext_cli.settings.fine_tuning import FineTuningSettings
from mednext_cli.settings.growth import GROWTH, Growth
from mednext_cli.settings.loss import LossSettings
from mednext_cli.settings.mirror_axes import AXES, MirrorAxes
from mednext_cli.settings.sections import (
    AFTER_TRAINING,
    HOW_IT_RUNS,
    NO_RESULT,
    SAME_PARAMETERS,
    WHAT_IT_HOLDS,
    AugmentationDevice,
    Choice,
    MayChange,
    NotNegative,
    Operators,
    PathText,
    Probability,
    Range,
    RegisteredName,
    Section,
    Table,
)
from mednext_cli.settings.training import TrainingSettings

DEFAULT_NETWORK = "mednext"
LARGEST_OVERLAP = 0.95  # 8,000 times the tiles of no overlap


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
            no number; auto as the network does by itself, MedNeXt M and L (published), but not in
            half precision by fused operators, which take as little memory without (ours).
        operators: fused operators where they are measured to be faster on this GPU (auto), always
            or never (ours).
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Table]  # by the name of a family

    network: RegisteredName = DEFAULT_NETWORK
    deep_supervision: Choice = "auto"
    checkpointing: Annotated[Choice, HOW_IT_RUNS] = "auto"
    operators: Annotated[Operators, HOW_IT_RUNS] = "auto"

    @property
    def table(self) -> Table:
        """The values of the network's own table; empty where it has none."""
        return dict(self.__pydantic_extra__.get(self.network, {}))


class InitSettings(Section):
    """The first weights, where they are not drawn by the seed: those of another run.

    A path is that of a run's folder, whose last checkpoint is taken, of the folder above, whose run
    of the same fold is, or of a checkpoint; a name of `mednext models ls` is taken, too. It is
    relative to the working directory. The weights are in the run once it has begun: to go on it
    needs no other file.

    Attributes:
        upkern: of which weights, whose kernels grow to the network's own where they are smaller
            (published, for kernels of 5).
        checkpoint: of which weights, as `--init` takes them; the kernels must be the network's
            (ours).
        growth: how `upkern` makes a kernel of a smaller one: by interpolation (published),
            with zeros around it, so that the network computes what it did before, or by its nearest
            voxels; left out, `trilinear` (published).
    """

    upkern: Annotated[PathText | None, WHAT_IT_HOLDS] = None
    checkpoint: Annotated[PathText | None, WHAT_IT_HOLDS] = None
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


class AugmentationSettings(Section):
    """nnU-Net v1's list ("moreDA"), probabilities per sample; facts in docs/concepts/recipe.md.

    Attributes:
        rotation: probability (published).
        rotation_degrees: largest rotation about each axis (published).
        dummy_2d: turn, zoom and lower the resolution within the planes across the coarsest axis
            alone; auto where the patch is more than three times as long as it is thick there
            (published).
        dummy_2d_degrees: largest rotation within these planes, where that is so (published).
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
        device: where it is computed, by the processes that prepare batches (worker) or on the
            network's device (ours).
        mirror_axes: axes that may be flipped, named by the patient; leave out any that tells
            classes apart, as front and back of the hippocampus; `plan` takes those that the
            plan proposes, `plan_left_right` of these left and right alone (published: all).
    """

    rotation: Probability = 0.2
    rotation_degrees: Annotated[NotNegative, Field(le=180.0)] = 30.0
    dummy_2d: Choice = "auto"
    dummy_2d_degrees: Annotated[NotNegative, Field(le=180.0)] = 180.0
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
    mirror_axes: MirrorAxes | Literal["plan", "plan_left_right"] = AXES
    device: Annotated[AugmentationDevice, SAME_PARAMETERS] = "worker"

    @property
    def mirrored(self) -> tuple[int, ...]:
        """The mirrored axes as positions in (D, H, W); none as long as no plan has been asked."""
        axes = () if isinstance(self.mirror_axes, str) else self.mirror_axes
        return tuple(AXES.index(axis) for axis in axes)


class InferenceSettings(Section):
    """Sliding window of the final validation, and the default of `mednext predict`.

    Attributes:
        overlap: of neighbouring tiles, as a share of their length (published).
        mirror: average predictions over the mirrored axes (published).
    """

    overlap: Annotated[NotNegative, Field(le=LARGEST_OVERLAP), AFTER_TRAINING] = 0.5
    mirror: Annotated[bool, AFTER_TRAINING] = True


class Recipe(Section):
    """What a training run needs beside the data."""

    description: Annotated[str, NO_RESULT] = ""
    model: ModelSettings = ModelSettings()
    init: InitSettings = InitSettings()
    training: TrainingSettings = TrainingSettings()
    loss: LossSettings = LossSettings()
    fine_tuning: FineTuningSettings = FineTuningSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    inference: InferenceSettings = InferenceSettings()
    callbacks: Annotated[CallbackSettings, NO_RESULT] = CallbackSettings()

    def with_planned_axes(self, planned: MirrorAxes) -> Self:
        """With the mirror axes that a plan proposes, where they are left to it."""
        wanted = self.augmentation.mirror_axes
        if not isinstance(wanted, str):
            return self
        axes = planned if wanted == "plan" else tuple(a for a in planned if a == "left_right")
        augmentation = self.augmentation.model_copy(update={"mirror_axes": axes})
        return self.model_copy(update={"augmentation": augmentation})


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


def may_change(key: str) -> bool:
    """Whether this dotted key may change in a run that has begun."""
    return any(isinstance(mark, MayChange) for mark in _marks(key))


def is_resultless(key: str) -> bool:
    """Whether no result depends on this dotted key: how a run is run and what it is called."""
    return any(mark in (NO_RESULT, HOW_IT_RUNS) for mark in _marks(key))


def _marks(key: str) -> list[object]:
    """Those of a key, and of the section that it is in."""
    section = Recipe.model_fields.get(key.partition(".")[0])
    fields = [field for field in (section, recipe_fields().get(key)) if field is not None]
    return [mark for field in fields for mark in field.metadata]
