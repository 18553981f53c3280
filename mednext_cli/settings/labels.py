"""What the values of label maps mean: labels and the regions made of them."""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mednext_cli.foundation.names import shown
from mednext_cli.settings.values import MOST_CHANNELS, Flag, Name, NotNegative

MOST_LABELS = 256  # with background: class indices are stored in a byte
_CORRECT = "Correct the label map, or the labels where the dataset names them (dataset.json)."
LabelValue = Annotated[int, Field(strict=True, ge=1, le=65_535)]  # label maps have 16 bits at most
LabelValues = Annotated[tuple[LabelValue, ...], Field(max_length=65_535)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class LabelSet:
    """What the voxel values of label maps mean.

    Attributes:
        names: label value by name, without background (0); names in lower case with underscores.
        regions: the label values each scored region consists of, by region name, in report order.
        ignore: value of voxels that nobody annotated, if the dataset has such.
        region_training: whether networks predict the regions (sigmoid) rather than the labels.
        region_values: with `region_training`, the label value each region is written as,
            in the order of `regions` (nnU-Net's ``regions_class_order``).
        tolerance_mm: surface Dice tolerance by region, where the dataset sets one.
        summary_keys: key of each trained region in nnU-Net's summary.json, where it is not the
            tuple of its values. It and `strangers` stay with the dataset, see `travelling`.
        strangers: what to do about values that other editions of the dataset have, by value.
    """

    names: Mapping[Name, LabelValue]
    regions: Mapping[Name, LabelValues]
    ignore: LabelValue | None = None
    region_training: Flag = False
    region_values: LabelValues = ()
    tolerance_mm: Mapping[Name, NotNegative] = field(default_factory=dict)
    summary_keys: Annotated[Mapping[str, str], Field(exclude=True)] = field(
        default_factory=dict, compare=False
    )
    strangers: Annotated[Mapping[int, str], Field(exclude=True)] = field(
        default_factory=dict, compare=False
    )

    def travelling(self) -> "LabelSet":
        """What of it goes into plans: all but what helps with the dataset's own files."""
        return replace(self, summary_keys={}, strangers={})

    def advice(self, unknown: Iterable[int]) -> str:
        """What to do about label values that are not of this set."""
        known = [self.strangers[value] for value in unknown if value in self.strangers]
        return known[0] if known else _CORRECT

    @property
    def values(self) -> tuple[int, ...]:
        """All label values a label map may hold, background first, ignore last."""
        inner = sorted(set(self.names.values()))
        return (0, *inner) if self.ignore is None else (0, *inner, self.ignore)

    @property
    def class_values(self) -> tuple[int, ...]:
        """Label value by class index, background first, without the ignore label."""
        return (0, *sorted(set(self.names.values())))

    @property
    def output_channels(self) -> int:
        """How many `outputs` there are."""
        return len(self.outputs)

    @property
    def outputs(self) -> tuple[str, ...] | tuple[int, ...]:
        """What networks predict, in order: names of regions, or classes with the background."""
        return tuple(self.regions) if self.region_training else self.class_values

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the `outputs` are called: regions, or classes with the background."""
        if self.region_training:
            return tuple(self.regions)
        names = {value: name for name, value in reversed(list(self.names.items()))}
        return ("background", *(names[value] for value in self.class_values[1:]))

    @property
    def output_values(self) -> tuple[int, ...]:
        """The label value that each of the `outputs` is written as."""
        return self.region_values if self.region_training else self.class_values


def contradictions(labels: LabelSet) -> list[str]:
    """What keeps a network from being trained on these labels; empty where nothing does."""
    known = set(labels.names.values())
    problems = [
        f"regions.{name} {shown(values)} are not labels of the dataset"
        for name, values in labels.regions.items()
        if not values or not set(values) <= known
    ]
    if labels.region_training and len(labels.region_values) != len(labels.regions):
        problems.append("region_values need one value for each region")
    if not set(labels.region_values) <= known:
        values = shown(labels.region_values)
        problems.append(f"region_values {values} are not labels of the dataset")
    if labels.ignore in known:
        problems.append(f"ignore {labels.ignore} is also a label")
    if labels.summary_keys or labels.strangers:
        problems.append("summary_keys and strangers are of no use here")
    return problems + _counts(labels)


def _counts(labels: LabelSet) -> list[str]:
    counted = {"names": labels.names, "regions": labels.regions}
    problems = [f"{name} are none" for name, found in counted.items() if not found]
    if len(labels.values) > MOST_LABELS:
        problems.append(f"there are more than {MOST_LABELS - 1} labels")
    if max(len(labels.regions), len(labels.tolerance_mm)) > MOST_CHANNELS:
        problems.append(f"there are more than {MOST_CHANNELS} regions")
    return problems


def labels_in_order(names: str) -> LabelSet:
    """Labels 1, 2, ... of these names (commas between), each a region of its own."""
    values = {name.strip(): value for value, name in enumerate(names.split(","), start=1)}
    return LabelSet(names=values, regions={name: (value,) for name, value in values.items()})


def region_name(text: str) -> str:
    """A label or region name as CSVs and options spell it: lower case with underscores."""
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
