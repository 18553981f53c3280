"""What every layout yields: cases, channels, labels and regions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

_CORRECT = "Correct the label map, or the labels where the dataset names them (dataset.json)."


@dataclass(frozen=True)
class Channel:
    """Where one channel of a case is stored.

    Attributes:
        path: the scan file; the folder of a DICOM series, or a file that stands for its series.
        index: position along the fourth axis of a 4D file; None for a 3D file.
    """

    path: Path
    index: int | None = None


@dataclass(frozen=True)
class Case:
    """One subject at one time.

    Attributes:
        id: unique in its dataset; names the cache file and the prediction.
        channels: one entry per channel, in the order of `Dataset.channels`.
        label: the label map, None for an unlabelled case; a folder where every structure has a
            binary mask of its own.
        masks: file name in that folder and label value of each mask; later ones go over earlier.
            None where the label map is one file.
    """

    id: str
    channels: tuple[Channel, ...]
    label: Path | None = None
    masks: tuple[tuple[str, int], ...] | None = None


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


@dataclass(frozen=True)
class Dataset:
    """A raw folder as its layout understands it.

    Attributes:
        name: folder name of its cache and runs.
        layout: name of the layout that read it.
        channels: channel names ("CT", "T1", ...); "CT" decides the normalisation.
        labels: see `LabelSet`.
        cases: all cases, labelled and not, sorted by id.
    """

    name: str
    layout: str
    channels: tuple[str, ...]
    labels: LabelSet
    cases: tuple[Case, ...]

    @property
    def labelled(self) -> tuple[Case, ...]:
        """The cases that have a label map."""
        return tuple(case for case in self.cases if case.label is not None)


class Layout(Protocol):
    """A raw layout: the entry point `mednext.datasets` names one instance each.

    `registry.read_dataset` finds a layout by its name and reads a folder with it.

    A layout that takes options of `options.LayoutOptions` names them in an attribute ``options``
    and has keywords of these names, with defaults, in `read`.

    Attributes:
        description: one line for `mednext datasets ls`.
        label_set: the fixed labels and regions of a challenge, None where the folder brings them.
    """

    description: str
    label_set: LabelSet | None

    def recognises(self, raw: Path) -> bool:
        """Whether the folder looks like this layout; cheap, for hints in error messages."""
        ...

    def read(self, raw: Path, **options: Any) -> Dataset:  # noqa: ANN401 - each its own
        """List the cases below `raw` without reading voxels.

        Raises:
            DatasetError: the folder does not follow the layout; says what was expected where.
        """
        ...


def labels_in_order(names: str) -> LabelSet:
    """Labels 1, 2, ... of these names (commas between), each a region of its own."""
    values = {name.strip(): value for value, name in enumerate(names.split(","), start=1)}
    return LabelSet(names=values, regions={name: (value,) for name, value in values.items()})


def region_name(text: str) -> str:
    """A label or region name as CSVs and options spell it: lower case with underscores."""
    return "_".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
