"""The cases of a fold, as the recipe and a splits file say, and the classes that it lacks."""

import logging
from pathlib import Path

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.splits import Split, choose_split
from mednext_cli.training.stratify import Patient, group_cases, stratify

_NAMED = 5  # classes of one line
logger = logging.getLogger(__name__)


def splits_file_of(cache: Path) -> Path:
    """Where a dataset's cache may have folds of its own; it need not be there."""
    return cache / "splits.json"


def check_splits_file(path: Path | None) -> None:
    """Raise `SettingsError` if a splits file was named and is not there."""
    if path is not None and not path.is_file():
        raise SettingsError(
            f"--splits {path}: there is no such file", 'Of [{"train": [ids], "val": [ids]}, ...].'
        )


def choose_fold(
    cached: CachedDataset, fold: str, training: TrainingSettings, splits_file: Path
) -> Split:
    """The cases of a fold; ``all`` trains on every case and validates with none.

    Args:
        cached: the dataset.
        fold: like "0", or "all".
        training: says how many folds there are, and how cases are shared out.
        splits_file: it comes first; it need not be there.

    Raises:
        SettingsError: there is no such fold, a splits file and the recipe both say how, or the file
            or the expression for patients does not fit the cases.
    """
    shares_out = training.stratified or training.group_regex is not None
    if not shares_out or fold == "all":
        return choose_split(cached.labelled_ids, fold, training.folds, splits_file)
    if splits_file.is_file():
        raise SettingsError(
            f"{splits_file} has the folds, and the recipe's group_regex or stratified other ones",
            "Leave these out of the recipe, or move the file away.",
        )
    classes = {name: cached.case(name).classes for name in cached.labelled_ids}
    patients = group_cases(classes, training.group_regex)
    _check_count(len(patients), training.folds)
    whole = choose_split(list(patients), fold, training.folds, splits_file)  # checks the fold
    if training.stratified:
        made = stratify(patients, training.folds)
        whole = _held_out(patients, made[int(fold)])
    return _of_cases(patients, whole)


def _check_count(patients: int, folds: int) -> None:
    if patients == 1:
        raise SettingsError(
            "all cases are of one patient, who cannot be split into folds",
            "Correct training.group_regex, or use --fold all, which validates on none.",
        )
    if patients < folds:
        raise SettingsError(
            f"the cases are of {patients} patients, who cannot be split into {folds} folds",
            f"Use fewer folds (--set training.folds={patients}), or correct training.group_regex.",
        )


def _held_out(patients: dict[str, Patient], names: list[str]) -> Split:
    return Split(tuple(name for name in patients if name not in set(names)), tuple(names))


def _of_cases(patients: dict[str, Patient], split: Split) -> Split:
    training, validation = (
        tuple(sorted(case for name in side for case in patients[name].cases))
        for side in (split.training, split.validation)
    )
    return Split(training, validation)


def warn_of_lacking_classes(cached: CachedDataset, split: Split, fold: str) -> None:
    """Name the classes that no case of a side of the fold has."""
    plan = cached.plan
    by_value = {value: name for name, value in plan.label_set.names.items()}
    names = {index: by_value[value] for index, value in enumerate(plan.class_values) if index}
    for side, cases, means in (
        ("training", split.training, "it cannot be learnt"),
        ("validation", split.validation, "its Dice is not defined"),
    ):
        found = {index for case_id in cases for index in cached.case(case_id).classes}
        lacking = [name for index, name in names.items() if index not in found]
        if cases and lacking:
            more = len(lacking) - _NAMED
            listed = ", ".join(lacking[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            logger.warning("fold %s: no %s case has %s: %s", fold, side, listed, means)
