"""Folds that earlier calls finished: they belong into the table of those that are trained now."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mednext_cli.evaluation.tables.read_cases import read_cases
from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.files import read_toml
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.recipe import is_resultless
from mednext_cli.training.run_folder import RunFolder

logger = logging.getLogger(__name__)
_FOLD = "fold"


def find_alike(
    network: Path, scored: Mapping[str, RunFolder], without: Collection[str]
) -> dict[str, RunFolder]:
    """The scored runs beside others that were trained by their recipe, by fold.

    Left out, and said to be, are those with another recipe and those that score a case which the
    others score too, as folds of other splits do.

    Args:
        network: folder of the folds' runs.
        scored: runs that are in the table already, by fold.
        without: folds that are not asked after.
    """
    if not scored:
        return {}
    recipe = _read_recipe(next(iter(scored.values())))
    cases = set().union(*map(_case_ids, scored.values()))
    found: dict[str, RunFolder] = {}
    for folder in map(RunFolder, sorted(network.glob(f"{_FOLD}[0-9]*"))):
        fold = folder.path.name.removeprefix(_FOLD)
        if fold in without or not folder.scores.is_file():
            continue
        try:
            theirs = _case_ids(folder)
            alike = _read_recipe(folder) == recipe and not theirs & cases
        except MednextError as error:
            logger.warning("fold %s is not in the table: %s", fold, error)
            continue
        if alike:
            found[fold] = folder
            cases |= theirs
        else:
            logger.info("fold %s has another recipe or split and is not in the table", fold)
    return found


def _read_recipe(folder: RunFolder) -> dict[str, Any]:
    """What results depend on, by dotted key; a fold's first weights are another fold's."""
    flat = flatten(read_toml(folder.recipe)) if folder.recipe.is_file() else {}
    return {
        key: value
        for key, value in flat.items()
        if not is_resultless(key) and not key.startswith("init.")
    }


def _case_ids(folder: RunFolder) -> set[str]:
    scores = read_cases(folder.scores, ["dice"]).scores["dice"]
    return set(scores.index.get_level_values("case"))
