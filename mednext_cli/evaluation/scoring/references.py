"""The annotators' label maps, and what their values mean."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mednext_cli.datasets.dataset import Dataset
from mednext_cli.datasets.described_labels import read_described_labels
from mednext_cli.datasets.hints import recognises
from mednext_cli.datasets.label_table import scored_labels
from mednext_cli.datasets.registry import fitting_layouts, load_layout, read_dataset
from mednext_cli.evaluation.scoring.label_maps import (
    ENDINGS,
    few,
    find_label_maps,
    folders_with_scans,
)
from mednext_cli.foundation.errors import DatasetError, MednextError
from mednext_cli.foundation.files import read_json
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.settings.labels import LabelSet

_DESCRIPTION = "dataset.json"
RECORD = "predict.json"
_LABEL_FOLDERS = ("labelsTr", "gt_segmentations", "labels", "label")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Naming:
    """What label values mean.

    Attributes:
        label_set: labels and regions.
        source: where that comes from, for people.
    """

    label_set: LabelSet
    source: str


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


def find_references(
    labels: Path,
    dataset: str | None = None,
    given: Naming | None = None,
    known: Naming | None = None,
) -> References:
    """The label maps at `labels` and, where it can be told, what their values mean.

    Args:
        labels: one label map; a folder of label maps, or of case folders with a segmentation
            each; or the raw folder of a dataset, with or without its scans.
        dataset: name of a layout; None looks for a dataset.json in the folder or beside it.
        given: what the user says the values mean, which goes before everything else.
        known: what they mean where a layout is named and neither it nor a dataset.json says so.
            Without a layout the values found are scored: annotators may know more than a network.

    Raises:
        DatasetError: nothing there, one scan under two endings, not that layout's folder, or
            nothing that names the labels of a layout without names of its own.
        PluginError: there is no such layout.
    """
    if dataset is None:
        return _guess(labels, given)
    layout = load_layout(dataset)
    paths = _without_images(find_label_maps(labels), labels, dataset)
    naming = given or (Naming(layout.label_set, dataset) if layout.label_set else None)
    if not paths:
        whole = _read_whole(labels, dataset)
        if whole is not None:
            paths = _labels_of(whole)
            naming = naming or Naming(whole.labels, _source(labels, dataset))
        else:
            paths = _find_inside(labels)
    return References(paths, *_fields(naming or _name_bare(labels, dataset, known)))


def recorded_labels(predictions: Path) -> Naming | None:
    """What `mednext predict` wrote down of the labels it wrote; None where it did not."""
    path = (predictions if predictions.is_dir() else predictions.parent) / RECORD
    if not path.is_file():
        return None
    try:
        table: Any = read_json(path)["provenance"]["label_set"]
        ignore = {} if table["ignore"] is None else {"ignore": table["ignore"]}
        regions = scored_labels({**table["regions"], **ignore}, path)
        names = scored_labels(table["labels"], path)
        trained = bool(table["region_training"])
    except (MednextError, LookupError, TypeError, AttributeError):
        return None  # of an older version
    return Naming(
        LabelSet(names.names, regions.regions, regions.ignore, region_training=trained), str(path)
    )


def _fields(naming: Naming | None) -> tuple[LabelSet | None, str]:
    return (naming.label_set, naming.source) if naming else (None, "")


def _labels_of(whole: Dataset) -> dict[str, Path]:
    return {case.id: case.label for case in whole.labelled if case.label}


def _without_images(paths: dict[str, Path], labels: Path, dataset: str) -> dict[str, Path]:
    """The label maps alone, where the layout has images beside them in the same folder."""
    beside = {path for path in paths.values() if path.parent == labels}
    if not beside or not recognises(find_plugins("datasets")[dataset], labels):
        return paths
    try:
        whole = read_dataset(labels, dataset)
    except DatasetError as error:
        logger.debug("%s", error)
        return paths
    images = {channel.path for case in whole.cases for channel in case.channels}
    return _labels_of(whole) if images & beside else paths


def _roots(labels: Path) -> Sequence[Path]:
    """Where the raw folder may be: `labels` itself, or above the labelsTr that it is or is in."""
    folder = labels if labels.is_dir() else labels.absolute().parent
    return (folder, folder.absolute().parent)


def _described_root(labels: Path) -> Path | None:
    """The folder whose dataset.json is nearest."""
    return next((folder for folder in _roots(labels) if (folder / _DESCRIPTION).is_file()), None)


def _source(labels: Path, otherwise: str) -> str:
    root = _described_root(labels)
    return str(root / _DESCRIPTION) if root else otherwise


def _read_whole(labels: Path, dataset: str) -> Dataset | None:
    """The dataset that `labels` is a folder of; None where its label maps are all there is of it.

    Raises:
        DatasetError: it is no folder of that layout, and holds no folder of label maps either.
    """
    try:
        return read_dataset(_described_root(labels) or labels, dataset)
    except DatasetError:
        if not _find_inside(labels):
            raise
        return None


def _find_inside(labels: Path) -> dict[str, Path]:
    """The label maps of a raw folder whose scans are elsewhere."""
    for name in _LABEL_FOLDERS:
        if (labels / name).is_dir() and (found := find_label_maps(labels / name)):
            return found
    return {}


def _name_bare(labels: Path, dataset: str, known: Naming | None) -> Naming:
    """What the values of label maps without their scans mean, for a layout without names.

    Raises:
        DatasetError: nothing says so, or what says so cannot be read.
    """
    if root := _described_root(labels):
        return _named(Naming(read_described_labels(root), str(root / _DESCRIPTION)))
    if known is not None:
        return _named(known)
    for root in _roots(labels):
        try:
            return Naming(read_dataset(root, dataset).labels, dataset)
        except DatasetError as error:
            logger.debug("%s", error)
    raise DatasetError(
        f"nothing names the labels of {labels} for --dataset {dataset}: no {_DESCRIPTION} lies in "
        "it or beside it",
        "Leave --dataset out to score labels by their numbers, or name them: --labels "
        "liver=1,tumour=2 or --plan FILE.",
    )


def _guess(labels: Path, given: Naming | None) -> References:
    paths = find_label_maps(labels)
    root = _described_root(labels)
    whole = None if root is None or (paths and given) else _first_fitting(root)
    paths = paths or (_labels_of(whole) if whole else {}) or _find_inside(labels)
    if not paths:
        inner = folders_with_scans(labels)
        hint = f"give one of its folders ({few(inner)}), or " if inner else ""
        raise DatasetError(
            f"{labels} holds no label maps",
            f"{ENDINGS}; {hint}name the layout of a raw folder with --dataset.",
        )
    if given is not None:
        return References(paths, *_fields(given))
    if root is not None and whole is not None:
        named: Naming | None = Naming(whole.labels, str(root / _DESCRIPTION))
    else:
        named = _described(root) if root else None
    return References(paths, *_fields(_named(named) if named else None))


def _first_fitting(root: Path) -> Dataset | None:
    for name in fitting_layouts(root):
        try:
            return read_dataset(root, name)
        except MednextError as error:
            logger.info("%s is not read as %s: %s", root, name, error)
    return None


def _described(root: Path) -> Naming | None:
    try:
        return Naming(read_described_labels(root), str(root / _DESCRIPTION))
    except DatasetError as error:
        logger.warning("%s Labels are scored by their numbers.", error)
        return None


def _named(naming: Naming) -> Naming:
    logger.info("labels are named by %s", naming.source)
    return naming
