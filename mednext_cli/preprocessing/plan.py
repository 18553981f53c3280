"""How a dataset's cases are prepared: decided once, kept in the cache and in every checkpoint."""

from collections.abc import Callable
from math import isfinite
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mednext_cli.datasets.dataset import Dataset, LabelSet
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.names import check_file_name, check_name, shown
from mednext_cli.preprocessing.fingerprint import CaseFingerprint, Fingerprint
from mednext_cli.preprocessing.spacing import LARGEST_MM, SMALLEST_MM, is_usable
from mednext_cli.volumes.resample import resampled_shape


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
_LARGEST_PATCH, _BATCH = 128, 2  # as published
_MUCH_CROPPED = 3 / 4  # below, statistics are taken inside the non-zero voxels (nnU-Net v1)
_BATCH_DICE_RATIO = 4  # median scan over patch, voxels: where nnU-Net v1 makes a lowres stage


_MOST_LABELS = 256  # class indices are stored in a byte
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
    labels: Annotated[dict[Name, LabelValue], Field(min_length=1, max_length=_MOST_LABELS)]
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
    if len(plan.label_set.values) > _MOST_LABELS:
        problems.append(f"there are more than {_MOST_LABELS - 1} labels")
    return problems


_CHECKS: tuple[Callable[[Plan], list[str]], ...] = (_sizes, _meanings)


def _entry(part: int | str) -> str:
    return str(part) if isinstance(part, int) or part.isidentifier() else shown(part)


def first_problem(error: ValidationError) -> str:
    """Of all that is wrong with values from a file, the first, on one line: ``entry: why``."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(_entry, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message


def plan_dataset(
    dataset: Dataset,
    cases: list[CaseFingerprint],
    fingerprint: Fingerprint,
    spacing_mm: tuple[float, float, float] | None,
) -> Plan:
    """Decide spacing, patch and normalisation.

    The patch is 128^3 as published, but along each axis not more than the median resampled scan,
    rounded to the nearest multiple of 16 (36 x 50 x 35 gives 32 x 48 x 32). The published planner
    pads such scans to 128^3.

    Args:
        dataset: as its layout read it.
        cases: fingerprints of the cases.
        fingerprint: their summary.
        spacing_mm: target (D, H, W); None takes the median.

    Raises:
        DatasetError: no case has any foreground or all of it has one value, which would make a
            network's input constant; there are more than 255 labels; or what the dataset says of
            itself makes no plan.
    """
    if len(dataset.labels.values) > _MOST_LABELS:
        raise DatasetError(
            f"{dataset.name} has {len(dataset.labels.values) - 1} labels, 255 can be trained on",
            "Merge some, or split the dataset.",
        )
    if not any(case.foreground_voxels for case in cases):
        raise DatasetError(
            f"{dataset.name}: no case has any foreground, there is nothing to learn",
            "Check the label maps.",
        )
    target = spacing_mm or fingerprint.median_spacing_mm
    shapes = [resampled_shape(case.cropped_shape, case.spacing_mm, target) for case in cases]
    median = np.median(shapes, axis=0)
    patch = plan_patch((float(median[0]), float(median[1]), float(median[2])))
    try:
        return _planned(dataset, fingerprint, target, patch, median)
    except ValidationError as error:
        raise DatasetError(
            f"{dataset.name} cannot be planned: {first_problem(error)}",
            "Check its dataset.json and its scans.",
        ) from error


def _planned(
    dataset: Dataset,
    fingerprint: Fingerprint,
    spacing_mm: tuple[float, float, float],
    patch: tuple[int, int, int],
    median_shape: NDArray[np.floating[Any]],
) -> Plan:
    labels = dataset.labels
    return Plan(
        dataset=dataset.name,
        layout=dataset.layout,
        spacing_mm=spacing_mm,
        patch_voxels=patch,
        batch_size=_BATCH,
        channels=dataset.channels,
        normalisation=tuple(
            _normalisation(dataset, index, fingerprint) for index in range(len(dataset.channels))
        ),
        labels=dict(labels.names),
        regions=dict(labels.regions),
        ignore=labels.ignore,
        region_training=labels.region_training,
        region_values=labels.region_values,
        tolerance_mm=dict(labels.tolerance_mm),
        batch_dice=bool(np.prod(median_shape) >= _BATCH_DICE_RATIO * np.prod(patch)),
    )


def plan_patch(median_shape: tuple[float, float, float]) -> tuple[int, int, int]:
    """The default patch for scans of this size; group norm needs 32 along one axis at least."""
    sizes = [
        int(np.clip(round(length / DIVISOR) * DIVISOR, DIVISOR, _LARGEST_PATCH))
        for length in median_shape
    ]
    if max(sizes) == DIVISOR:
        sizes[int(np.argmax(median_shape))] = 2 * DIVISOR
    return sizes[0], sizes[1], sizes[2]


def _normalisation(dataset: Dataset, index: int, fingerprint: Fingerprint) -> ChannelNormalisation:
    name = dataset.channels[index].casefold()
    if name == "ct":
        statistics = fingerprint.intensities[index]
        _check_range(dataset, index, statistics)
        return ChannelNormalisation(
            scheme="ct",
            lower=statistics["percentile_00_5"],
            upper=statistics["percentile_99_5"],
            mean=statistics["mean"],
            std=statistics["std"],
        )
    named: dict[str, Scheme] = {"nonorm": "none", "rescale_to_0_1": "rescale"}
    masked = fingerprint.cropping_ratio < _MUCH_CROPPED
    return ChannelNormalisation(scheme=named.get(name, "z_score"), use_nonzero_mask=masked)


def _check_range(dataset: Dataset, index: int, statistics: dict[str, float]) -> None:
    """CT is clipped to the foreground's percentiles: of one value, every voxel would become it."""
    if statistics["percentile_00_5"] < statistics["percentile_99_5"] and statistics["std"] > 0:
        return
    value = statistics["median"]
    raise DatasetError(
        f"{dataset.name}, channel {index} ({dataset.channels[index]}): nearly all labelled voxels "
        f"have the intensity {value:g}, to which CT would be clipped: every image would be "
        "constant",
        "Check scans and labels (metal saturates at 3071 HU); or name the channel otherwise than "
        "CT (layout folder: --modality mr), so that each image is normalised by itself.",
    )
