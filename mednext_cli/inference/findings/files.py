"""Where the files of a case lie in a folder of predictions, and which of them are wanted.

What lies beside a label map lies in folders of its own: whoever reads a folder of predictions
takes every scan in it for a label map.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.volumes.scans import LABEL_SUFFIX

PROBABILITIES = "_probabilities.h5"
EARLIER_PROBABILITIES = "_probabilities.npz"  # of earlier versions
VOLUMES, CHANGES, PREVIEWS, DICOM = "volumes", "postprocessed", "previews", "dicom"
ENTROPY, DISAGREEMENT = "entropy", "disagreement"
SEGMENTATION, CONTOURS = "seg", "rtstruct"


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case, there or not.

    Attributes:
        folder: of the predictions.
        case_id: of the case.
    """

    folder: Path
    case_id: str

    @property
    def label_map(self) -> Path:
        """Every structure's voxels, on the scan's grid."""
        return self.folder / f"{self.case_id}{LABEL_SUFFIX}"

    @property
    def probabilities(self) -> Path:
        """Of the classes or regions, on the scan's grid."""
        return self.folder / f"{self.case_id}{PROBABILITIES}"

    @property
    def earlier_probabilities(self) -> Path:
        """As earlier versions wrote them."""
        return self.folder / f"{self.case_id}{EARLIER_PROBABILITIES}"

    @property
    def preview(self) -> Path:
        """A picture of three planes."""
        return self.folder / PREVIEWS / f"{self.case_id}.png"

    @property
    def volumes(self) -> Path:
        """The case's rows of volumes.csv."""
        return self.folder / VOLUMES / f"{self.case_id}.csv"

    @property
    def changes(self) -> Path:
        """The case's rows of postprocessed.csv."""
        return self.folder / CHANGES / f"{self.case_id}.csv"

    def mask(self, name: str) -> Path:
        """Of one structure alone."""
        return self.folder / "structures" / self.case_id / f"{name}{LABEL_SUFFIX}"

    def uncertainty(self, name: str) -> Path:
        """A map of `ENTROPY` or `DISAGREEMENT`."""
        return self.folder / "uncertainty" / self.case_id / f"{name}{LABEL_SUFFIX}"

    def dicom(self, kind: str) -> Path:
        """The DICOM object `SEGMENTATION` or `CONTOURS`."""
        return self.folder / DICOM / f"{self.case_id}.{kind}.dcm"

    def remove_beside(self) -> None:
        """Remove all but the label map; what is not there, or not ours, stays so."""
        objects = map(self.dicom, (SEGMENTATION, CONTOURS))
        scores = (self.probabilities, self.earlier_probabilities)
        for path in (*scores, self.preview, self.volumes, self.changes, *objects):
            path.unlink(missing_ok=True)
        for folder in (self.mask("").parent, self.uncertainty("").parent):
            for path in folder.glob(f"*{LABEL_SUFFIX}"):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not there, or holds somebody else's files
                folder.rmdir()


@dataclass(frozen=True)
class Wanted:
    """What is wanted beside label maps.

    Attributes:
        probabilities: of classes or regions.
        uncertainty: `ENTROPY` and `DISAGREEMENT`, those that are wanted.
        changes: what post-processing changed.
        statistics: volumes, intensities and extents.
        preview: a picture.
        masks: names of the files with one structure each.
        dicom: `SEGMENTATION` and `CONTOURS`, those that are wanted.
        uid_seed: of their UIDs.
    """

    probabilities: bool = False
    uncertainty: tuple[str, ...] = ()
    changes: bool = False
    statistics: bool = False
    preview: bool = False
    masks: tuple[str, ...] = ()
    dicom: tuple[str, ...] = ()
    uid_seed: str = ""

    def of_networks(self, files: CaseFiles) -> Iterator[Path]:
        """The files that only the networks can make anew."""
        if self.probabilities:
            yield files.probabilities
        if self.changes:
            yield files.changes
        yield from map(files.uncertainty, self.uncertainty)

    def of_labels(self, files: CaseFiles) -> Iterator[Path]:
        """The files that are made of the scan and its label map."""
        if self.statistics:
            yield files.volumes
        if self.preview:
            yield files.preview
        yield from map(files.mask, self.masks)
        yield from map(files.dicom, self.dicom)
