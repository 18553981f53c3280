"""Five folds as nnU-Net splits them, or the user's own; and some of a fold's training cases."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from unicodedata import normalize

import numpy as np

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import read_json

_NNUNET_SEED = 12345
_NUMBER = re.compile(r"[0-9]{1,6}")  # superscripts and the like are digits to str.isdigit


@dataclass(frozen=True)
class Split:
    """Case ids to train on and to validate with."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def split_cases(case_ids: Sequence[str], fold: int, folds: int = 5) -> Split:
    """Shuffled k-fold over the sorted ids, seed 12345: the folds of nnU-Net (v1 and v2).

    Equal to scikit-learn's ``KFold(folds, shuffle=True, random_state=12345)``.

    Raises:
        SettingsError: fewer cases than folds, or no such fold.
    """
    ids = sorted(case_ids)
    if not 0 <= fold < folds:
        raise SettingsError(f"there is no fold {fold} of {folds}", f"Choose 0 to {folds - 1}.")
    if len(ids) == 1:
        raise SettingsError(
            "one labelled case cannot be split into folds",
            "Use --fold all, which trains on it and validates on none, or add cases.",
        )
    if len(ids) < folds:
        raise SettingsError(
            f"{len(ids)} labelled cases cannot be split into {folds} folds",
            f"Use fewer folds (--set training.folds={len(ids)}), a splits.json, or --fold all.",
        )
    order = np.arange(len(ids))
    np.random.RandomState(_NNUNET_SEED).shuffle(order)
    held_out = set(np.array_split(order, folds)[fold].tolist())
    return Split(
        tuple(name for index, name in enumerate(ids) if index not in held_out),
        tuple(name for index, name in enumerate(ids) if index in held_out),
    )


def read_split(path: Path, fold: int, case_ids: Sequence[str]) -> Split:
    """Fold number `fold` of a ``splits.json``: ``[{"train": [...], "val": [...]}, ...]``.

    Raises:
        SettingsError: no such fold, an unknown case, or a case on both sides.
    """
    folds = read_json(path)
    try:
        entry = folds[fold]
        split = Split(_ids(entry["train"]), _ids(entry["val"]))
    except (IndexError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{path} has no fold {fold}", 'Expected [{"train": [ids], "val": [ids]}, ...].'
        ) from error
    both = set(split.training) & set(split.validation)
    unknown = {*split.training, *split.validation} - set(case_ids)
    if both or unknown or not split.training:
        problem = (
            f"{sorted(both)[0]} is in train and val of fold {fold}"
            if both
            else f"{sorted(unknown)[0]} is not a labelled case of this dataset"
            if unknown
            else f"fold {fold} trains on no case"
        )
        raise SettingsError(f"{path}: {problem}", "Correct the file.")
    return split


def _ids(names: Sequence[object]) -> tuple[str, ...]:
    """Each once, in Unicode's composed form, as case ids are."""
    return tuple(dict.fromkeys(normalize("NFC", str(name)) for name in names))


def parse_folds(text: str) -> tuple[str, ...] | None:
    """The folds in ``0``, ``0,2`` or ``all``; None for ``cv``, which is all of a cross-validation.

    Raises:
        SettingsError: something else.
    """
    if text == "cv":
        return None
    names = [part.strip() for part in text.split(",")]
    if names == ["all"]:
        return ("all",)
    if "all" in names:
        raise SettingsError(
            f"--fold {text}: all trains on every case and validates on none",
            "Give it alone; all folds in turn are --fold cv.",
        )
    for name in names:
        if not _NUMBER.fullmatch(name):
            raise SettingsError(
                f"--fold {text!r}: {name!r} is not a fold", "Give 0, or 0,2, or cv, or all."
            )
    return tuple(dict.fromkeys(map(fold_name, names)))


def name_folds(folds: int, splits_file: Path) -> tuple[str, ...]:
    """All folds of a cross-validation: those of ``splits.json`` where there is one.

    Args:
        folds: how many the recipe has.
        splits_file: of the cache; it need not be there.

    Raises:
        SettingsError: the file has none.
    """
    if splits_file.is_file():
        entries = read_json(splits_file)
        folds = len(entries) if isinstance(entries, list) else 0
    if folds == 0:
        raise SettingsError(
            f"{splits_file} has no fold", 'Expected [{"train": [ids], "val": [ids]}, ...].'
        )
    return tuple(map(str, range(folds)))


def fold_name(fold: str) -> str:
    """One way to write a fold that `choose_split` takes: ``00`` is ``0``."""
    return fold if fold == "all" else str(int(fold))


def choose_split(case_ids: Sequence[str], fold: str, folds: int, splits_file: Path) -> Split:
    """The cases of a fold; ``all`` trains on every case and validates with none."""
    if not case_ids:
        raise SettingsError("the cache has no labelled case", "Check mednext preprocess.")
    if fold == "all":
        return Split(tuple(sorted(case_ids)), ())
    if not _NUMBER.fullmatch(fold):
        raise SettingsError(f"--fold {fold!r}: not a fold", f"Choose 0 to {folds - 1}, or all.")
    if splits_file.is_file():
        return read_split(splits_file, int(fold), case_ids)
    return split_cases(case_ids, int(fold), folds)


def draw_cases(split: Split, count: int | None, seed: int) -> Split:
    """The split with so many of its training cases, drawn at random.

    The first ones of one shuffled order: a smaller number's cases are among a larger one's.

    Args:
        split: of the fold.
        count: training cases to keep; None keeps all.
        seed: of the order, by which it is the same for every network.

    Raises:
        SettingsError: the fold has fewer.
    """
    if count is None:
        return split
    if count > len(split.training):
        raise SettingsError(
            f"training.cases = {count}, and {len(split.training)} cases are there to train on",
            "Set fewer, or leave it out to train on all.",
        )
    order = np.random.RandomState(seed).permutation(len(split.training))
    ids = sorted(split.training)
    return replace(split, training=tuple(sorted(ids[index] for index in order[:count])))
