"""Which prediction belongs to which reference, and what the references' labels mean."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.datasets.dataset import Dataset, LabelSet
from mednext_cli.datasets.raw_folder import either_ending, list_names, scan_id
from mednext_cli.datasets.registry import fitting_layouts, load_layout, read_dataset
from mednext_cli.evaluation.score_case import CasePair
from mednext_cli.foundation.errors import DatasetError, MednextError
from mednext_cli.volumes.scans import SCAN_ENDINGS

_SEGMENTATION = "segmentation"  # KiTS19 calls every case's label map so, in a folder of its own
_FEW = 3
_ENDINGS = f"Label maps end in {', '.join(SCAN_ENDINGS)}"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class References:
    """The annotators' label maps.

    Attributes:
        paths: label map by case id.
        label_set: labels and regions, None where nothing says what they are.
        source: where the labels' names come from, for people; "" where there are none.
    """

    paths: Mapping[str, Path]
    label_set: LabelSet | None = None
    source: str = ""


@dataclass(frozen=True)
class Pairs:
    """What was matched.

    Attributes:
        pairs: one per reference, sorted by case id.
        extra: predictions without a reference.
    """

    pairs: tuple[CasePair, ...]
    extra: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases without a prediction."""
        return tuple(pair.case for pair in self.pairs if pair.prediction is None)


def find_references(labels: Path, dataset: str | None = None) -> References:
    """The label maps at `labels` and, where it can be told, what their values mean.

    Args:
        labels: one label map; a folder of label maps, or of case folders with a segmentation
            each; or the raw folder of a dataset.
        dataset: name of a layout; None looks for a dataset.json in the folder or beside it.

    Raises:
        DatasetError: nothing there, one scan under two endings, or not that layout's folder.
        PluginError: there is no such layout.
    """
    if dataset is None:
        return _guess(labels)
    layout = load_layout(dataset)
    found = find_label_maps(labels)
    whole = _read_whole(labels, dataset) if not found or layout.label_set is None else None
    label_set = layout.label_set or (whole.labels if whole else None)
    paths = found or {case.id: case.label for case in whole.labelled if case.label} if whole else {}
    return References(found or paths, label_set, dataset)


def find_label_maps(place: Path) -> dict[str, Path]:
    """Label maps by case id at a file or in a folder; empty where the folder holds none.

    Raises:
        DatasetError: nothing is there, or a scan is there as .nii and as .nii.gz.
    """
    if not place.exists():
        raise DatasetError(f"{place} does not exist", "Check the path.")
    if place.is_file():
        if not place.name.endswith(SCAN_ENDINGS):
            raise DatasetError(f"{place} is no label map", f"{_ENDINGS}.")
        return {_case_id(place): place}
    names = list_names(place)
    maps: dict[str, Path] = {}
    for name in names:
        if name.endswith(SCAN_ENDINGS):
            if scan_id(name) in maps:
                both = f"{maps[scan_id(name)]} and {place / name}"
                raise DatasetError(
                    f"duplicate case: {both} are the same scan by name", "Remove one."
                )
            maps[scan_id(name)] = place / name
    if maps:
        return maps
    inner = {name: either_ending(place / name, _SEGMENTATION) for name in names}
    return {name: path for name, path in inner.items() if path.exists()}


def pair_up(predictions: Path, references: Mapping[str, Path]) -> Pairs:
    """Match predictions with references by the case's name, or else by the reference file's (BTCV
    has label0001 for img0001); two single files match whatever their names.

    Raises:
        DatasetError: no predictions, or no name matches.
    """
    found = find_label_maps(predictions)
    if not found:
        raise DatasetError(f"{predictions} holds no label maps", f"{_ENDINGS}; check the folder.")
    if not references:
        raise DatasetError("there are no reference label maps", "Check the folder of the labels.")
    if predictions.is_file() and len(references) == 1:
        found = dict(zip(references, found.values(), strict=True))
    elif predictions.is_file():
        references = {case: references[case] for case in found if case in references} or references
    found = _by_case(found, references)
    if not found.keys() & references.keys():
        raise DatasetError(
            f"no prediction is named like a reference: {_few(found)} in {predictions} against "
            f"{_few(references)}",
            "Name each prediction CASE.nii.gz after its reference.",
        )
    pairs = [CasePair(case, references[case], found.get(case)) for case in sorted(references)]
    return Pairs(tuple(pairs), tuple(sorted(found.keys() - references.keys())))


def _by_case(found: Mapping[str, Path], references: Mapping[str, Path]) -> dict[str, Path]:
    """Predictions by case id, those that are named like a reference's file included."""
    stems = [scan_id(path.name) for path in references.values()]
    cases = {
        stem: case
        for stem, case in zip(stems, references, strict=True)
        if stems.count(stem) == 1 and stem not in references and case not in found
    }
    return {cases.get(name, name): path for name, path in found.items()}


def _case_id(path: Path) -> str:
    name = scan_id(path.name)
    return path.absolute().parent.name if name == _SEGMENTATION else name


def _few(names: Mapping[str, Path]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_FEW]) + (", ..." if len(listed) > _FEW else "")


def _roots(labels: Path) -> Sequence[Path]:
    """Where the raw folder may be: `labels` itself, or above the labelsTr that it is or is in."""
    folder = labels if labels.is_dir() else labels.absolute().parent
    return (folder, folder.absolute().parent)


def _read_whole(labels: Path, dataset: str) -> Dataset:
    """The dataset that `labels` is, or is a part of."""
    for root in _roots(labels):
        if (root / "dataset.json").is_file():
            return read_dataset(root, dataset)
    return read_dataset(labels if labels.is_dir() else labels.parent, dataset)


def _guess(labels: Path) -> References:
    found = find_label_maps(labels)
    root = next((one for one in _roots(labels) if (one / "dataset.json").is_file()), None)
    if root is not None:
        for name in fitting_layouts(root):
            try:
                whole = read_dataset(root, name)
            except MednextError as error:
                logger.info("%s tells no label names: %s", root / "dataset.json", error)
                continue
            inner = {case.id: case.label for case in whole.labelled if case.label}
            return References(found or inner, whole.labels, str(root / "dataset.json"))
    if not found:
        raise DatasetError(
            f"{labels} holds no label maps",
            f"{_ENDINGS}; name the layout of a raw folder with --dataset.",
        )
    return References(found)
