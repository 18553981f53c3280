"""The validation cases that post-processing is fitted on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.evaluation.scoring.pairing import pair_up
from mednext_cli.evaluation.scoring.references import (
    Naming,
    find_references,
    recorded_labels,
)
from mednext_cli.evaluation.scoring.score_case import CasePair
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json
from mednext_cli.inference.folds import find_checkpoints
from mednext_cli.settings.labels import LabelSet

_GROUPS = 5  # of cases, where there are no folds
_FEWEST = 2  # cases: each is left out once


@dataclass(frozen=True)
class ValidationCases:
    """Label maps with their references.

    Attributes:
        pairs: of predictions and references.
        groups: of each pair, to be left out together.
        labels: what the values mean.
    """

    pairs: tuple[CasePair, ...]
    groups: tuple[int, ...]
    labels: LabelSet


def find_validation_cases(
    predictions: Path, labels: Path, dataset: str | None = None
) -> ValidationCases:
    """The label maps of a run's validation, of all folds of a model, or of any folder.

    Args:
        predictions: a run folder (``S-k3/fold0``), a folder of run folders, whose folds are the
            groups, or a folder of label maps.
        labels: the references, see `references.find_references`.
        dataset: layout of these.

    Raises:
        DatasetError: no label maps, no references, or names that do not match.
        SettingsError: too few cases, values without names, or label maps that were
            post-processed already.
    """
    folders = list(_validation_folders(predictions)) or [predictions]
    naming = _naming(predictions, folders)
    references = find_references(labels, dataset, naming)
    if references.label_set is None:
        raise SettingsError(
            f"nothing names the labels of {predictions}", "Add --dataset, see mednext datasets ls."
        )
    pairs, groups = [], []
    for group, folder in enumerate(folders):
        found = [pair for pair in pair_up(folder, references.paths).pairs if pair.prediction]
        pairs += found
        groups += [group] * len(found)
    if len(pairs) < _FEWEST:
        raise SettingsError(
            f"{predictions} holds {len(pairs)} case with a reference, too few to check by leaving "
            "cases out",
            "Predict more.",
        )
    if len(folders) == 1:
        groups = [index % _GROUPS for index in range(len(pairs))]
    return ValidationCases(tuple(pairs), tuple(groups), references.label_set)


def is_run(path: Path) -> bool:
    """Whether this is a run folder, or a folder of them, with validated cases."""
    return any(_validation_folders(path))


def _validation_folders(path: Path) -> Iterator[Path]:
    if (path / "validation").is_dir():
        yield path / "validation"
    else:
        yield from sorted(folder for folder in path.glob("fold*/validation") if folder.is_dir())


def _naming(predictions: Path, folders: Sequence[Path]) -> Naming | None:
    """What the networks' labels are called: in their checkpoint, or in predict.json."""
    if folders[0] != predictions:
        plan = find_checkpoints(folders[0].parent)[0].checkpoint.plan
        return Naming(plan.label_set, str(folders[0].parent)) if plan else None
    _check_untreated(predictions)
    return recorded_labels(predictions)


def _check_untreated(predictions: Path) -> None:
    try:
        settings = read_json(predictions / "predict.json")["settings"]
        treated = [name for name in ("postprocessing", "only") if name in settings]
    except (DatasetError, LookupError, TypeError):
        return  # of another tool
    if treated:
        raise SettingsError(
            f"the label maps of {predictions} were made with {' and '.join(treated)}",
            "Predict with --no-postprocess and without --only, and fit on that.",
        )
