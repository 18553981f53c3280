"""What every layout yields: cases, channels, labels and regions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mednext_cli.settings.labels import LabelSet


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
