"""A plan: how a dataset's cases are prepared; kept in the cache and in every checkpoint."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mednext_cli.settings.labels import LabelSet, contradictions
from mednext_cli.settings.mirror_axes import AXES, MirrorAxes
from mednext_cli.settings.spacing import LARGEST_MM, SMALLEST_MM, is_usable
from mednext_cli.settings.values import MOST_CHANNELS, FileName, Flag, Frozen, Name, Number
from mednext_cli.volumes.turning import Turn

Millimetres = Annotated[float, Field(strict=True, gt=0.0)]
PatchLength = Annotated[int, Field(strict=True, ge=1, le=2048)]
BatchSize = Annotated[int, Field(strict=True, ge=1, le=4096)]
Scheme = Literal["ct", "z_score", "rescale", "none"]


class ChannelNormalisation(Frozen):
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


class Plan(Frozen):
    """All decisions about a dataset. Triples are (D, H, W) in canonical orientation.

    A plan that contradicts itself is none: what a file says is validated here and nowhere else.

    Attributes:
        spacing_mm: target spacing.
        patch_voxels: default patch, made to fit the network that is trained.
        batch_size: default batch.
        normalisation: one entry a channel.
        label_set: labels and regions.
        batch_dice: whether the Dice loss pools the batch.
        mirror_axes: along which mirroring leaves every class in its place, see
            `Fingerprint.mirror_swaps`; proposed to recipes.
        slice_axis: of networks of slices, the axis that these are cut across; it then comes first
            in `patch_voxels`, and the other two follow.
    """

    version: Literal[2] = 2
    dataset: FileName
    layout: Name
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    patch_voxels: tuple[PatchLength, PatchLength, PatchLength]
    batch_size: BatchSize
    channels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_CHANNELS)]
    normalisation: Annotated[tuple[ChannelNormalisation, ...], Field(max_length=MOST_CHANNELS)]
    label_set: LabelSet
    batch_dice: Flag = False
    mirror_axes: MirrorAxes = AXES
    slice_axis: Annotated[int, Field(strict=True, ge=0, le=2)] = 0

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        for problem in (*_sizes(self), *contradictions(self.label_set)):
            raise ValueError(problem)
        return self

    @property
    def class_values(self) -> tuple[int, ...]:
        """Label value by class index, background first, without the ignore label."""
        return self.label_set.class_values

    @property
    def ignore_index(self) -> int | None:
        """Class index of what nobody annotated, after all others; None where all is."""
        return None if self.label_set.ignore is None else len(self.class_values)

    @property
    def turn(self) -> Turn:
        """Images as the network sees them."""
        return Turn(self.slice_axis)

    @property
    def output_channels(self) -> int:
        """Channels of the network's output: regions, or classes with the background."""
        return self.label_set.output_channels


def _sizes(plan: Plan) -> list[str]:
    problems = []
    if not all(map(is_usable, plan.spacing_mm)):
        problems.append(f"spacing_mm {plan.spacing_mm} are not {SMALLEST_MM:g} to {LARGEST_MM:g}")
    if len(plan.normalisation) != len(plan.channels):
        problems.append(
            f"normalisation has {len(plan.normalisation)} entries, "
            f"there are {len(plan.channels)} channels"
        )
    return problems
