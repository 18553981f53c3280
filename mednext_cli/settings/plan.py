"""A plan: how a dataset's cases are prepared; kept in the cache and in every checkpoint."""

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mednext_cli.foundation.names import check_file_name, check_name, shown
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.spacing import LARGEST_MM, SMALLEST_MM, is_usable


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("is infinite or not a number")
    return value


Name = Annotated[str, AfterValidator(check_name)]
FileName = Annotated[str, AfterValidator(check_file_name)]
Number = Annotated[float, Field(strict=True), AfterValidator(_finite)]
Millimetres = Annotated[float, Field(strict=True, gt=0.0)]
Tolerance = Annotated[Number, Field(ge=0.0)]
PatchLength = Annotated[int, Field(strict=True, ge=1, le=2048)]
BatchSize = Annotated[int, Field(strict=True, ge=1, le=4096)]
LabelValue = Annotated[int, Field(strict=True, ge=1, le=65_535)]  # label maps have 16 bits at most
Flag = Annotated[bool, Field(strict=True)]
Scheme = Literal["ct", "z_score", "rescale", "none"]

DIVISOR = 16  # MedNeXt halves its input four times
MOST_LABELS = 256  # class indices are stored in a byte
_MOST_CHANNELS = 1024


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ChannelNormalisation(_Frozen):
    """Of one channel.

    Attributes:
        scheme: "ct" clips and uses the dataset's statistics; "z_score" uses the image's own;
            "rescale" maps its range to 0..1; "none" leaves intensities alone.
        use_nonzero_mask: take statistics inside the non-zero voxels, and set the rest to 0.
        lower, upper, mean, std: of "ct".
    """

    scheme: Scheme
    use_nonzero_mask: Flag = False
    lower: Number = 0.0
    upper: Number = 0.0
    mean: Number = 0.0
    std: Number = 1.0

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if self.scheme == "ct" and not (self.lower < self.upper and self.std > 0):
            raise ValueError("needs lower < upper and std > 0")
        return self


class Plan(_Frozen):
    """All decisions about a dataset. Triples are (D, H, W) in canonical orientation.

    A plan that contradicts itself is none: what a file says is validated here and nowhere else.

    Attributes:
        spacing_mm: target spacing.
        patch_voxels: default patch.
        batch_size: default batch.
        normalisation: one entry a channel.
        labels: label value by name, without background.
        regions: label values by region name; `ignore`, `region_training`, `region_values` and
            `tolerance_mm` as in `LabelSet`.
        batch_dice: whether the Dice loss pools the batch.
    """

    version: Literal[1] = 1
    dataset: FileName
    layout: Name
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    patch_voxels: tuple[PatchLength, PatchLength, PatchLength]
    batch_size: BatchSize
    channels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=_MOST_CHANNELS)]
    normalisation: Annotated[tuple[ChannelNormalisation, ...], Field(max_length=_MOST_CHANNELS)]
    labels: Annotated[dict[Name, LabelValue], Field(min_length=1, max_length=MOST_LABELS)]
    regions: Annotated[dict[Name, tuple[LabelValue, ...]], Field(max_length=_MOST_CHANNELS)]
    ignore: LabelValue | None = None
    region_training: Flag = False
    region_values: Annotated[tuple[LabelValue, ...], Field(max_length=_MOST_CHANNELS)] = ()
    tolerance_mm: Annotated[dict[Name, Tolerance], Field(max_length=_MOST_CHANNELS)] = {}
    batch_dice: Flag = False

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        for check in _CHECKS:
            for problem in check(self):
                raise ValueError(problem)
        return self

    @property
    def label_set(self) -> LabelSet:
        """Labels and regions as layouts give them."""
        return LabelSet(
            names=self.labels,
            regions=self.regions,
            ignore=self.ignore,
            region_training=self.region_training,
            region_values=self.region_values,
            tolerance_mm=self.tolerance_mm,
        )

    @property
    def class_values(self) -> tuple[int, ...]:
        """Label value by class index, background first, without the ignore label."""
        return (0, *sorted(set(self.labels.values())))

    @property
    def output_channels(self) -> int:
        """Channels of the network's output: regions, or classes with the background."""
        return len(self.regions) if self.region_training else len(self.class_values)


def _sizes(plan: Plan) -> list[str]:
    problems = []
    if any(length % DIVISOR for length in plan.patch_voxels):
        problems.append(f"patch_voxels {plan.patch_voxels} are not multiples of {DIVISOR}")
    if not all(map(is_usable, plan.spacing_mm)):
        problems.append(f"spacing_mm {plan.spacing_mm} are not {SMALLEST_MM:g} to {LARGEST_MM:g}")
    if len(plan.normalisation) != len(plan.channels):
        problems.append(
            f"normalisation has {len(plan.normalisation)} entries, "
            f"there are {len(plan.channels)} channels"
        )
    return problems


def _meanings(plan: Plan) -> list[str]:
    """What labels and regions say of each other."""
    known = set(plan.labels.values())
    problems = [
        f"regions.{name} {shown(values)} are not labels of the dataset"
        for name, values in plan.regions.items()
        if not values or not set(values) <= known
    ]
    if plan.region_training and len(plan.region_values) != len(plan.regions):
        problems.append("region_values need one value for each region")
    if not set(plan.region_values) <= known:
        values = shown(plan.region_values)
        problems.append(f"region_values {values} are not labels of the dataset")
    if not plan.regions:
        problems.append("regions are none")
    if plan.ignore in known:
        problems.append(f"ignore {plan.ignore} is also a label")
    if len(plan.label_set.values) > MOST_LABELS:
        problems.append(f"there are more than {MOST_LABELS - 1} labels")
    return problems


_CHECKS: tuple[Callable[[Plan], list[str]], ...] = (_sizes, _meanings)
