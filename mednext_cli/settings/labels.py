"""What the values of label maps mean: labels and the regions made of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_CORRECT = "Correct the label map, or the labels where the dataset names them (dataset.json)."


@dataclass(frozen=True)
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
            tuple of its values.
        strangers: what to do about values that other editions of the dataset have, by value.
    """

    names: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]]
    ignore: int | None = None
    region_training: bool = False
    region_values: tuple[int, ...] = ()
    tolerance_mm: Mapping[str, float] = field(default_factory=dict)
    summary_keys: Mapping[str, str] = field(default_factory=dict, compare=False)
    strangers: Mapping[int, str] = field(default_factory=dict, compare=False)

    def advice(self, unknown: Iterable[int]) -> str:
        """What to do about label values that are not of this set."""
        known = [self.strangers[value] for value in unknown if value in self.strangers]
        return known[0] if known else _CORRECT

    @property
    def values(self) -> tuple[int, ...]:
        """All label values a label map may hold, background first, ignore last."""
        inner = sorted(set(self.names.values()))
        return (0, *inner) if self.ignore is None else (0, *inner, self.ignore)


def labels_in_order(names: str) -> LabelSet:
    """Labels 1, 2, ... of these names (commas between), each a region of its own."""
    values = {name.strip(): value for value, name in enumerate(names.split(","), start=1)}
    return LabelSet(names=values, regions={name: (value,) for name, value in values.items()})


def region_name(text: str) -> str:
    """A label or region name as CSVs and options spell it: lower case with underscores."""
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
