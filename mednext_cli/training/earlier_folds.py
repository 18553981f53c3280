"""Folds that earlier calls finished: they belong into the table of those that are trained now."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mednext_cli.evaluation.tables.read_cases import read_cases
from mednext_cli.foundation.errors import MednextError
from mednext_cli.settings.recipe import is_resultless
from mednext_cli.training.overview.read import Run, read_run
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.validate import validated_cases

logger = logging.getLogger(__name__)
_FOLD = "fold"
_PATHS = ("init.upkern", "init.checkpoint")


def find_alike(
    network: Path, scored: Mapping[str, RunFolder], without: Collection[str]
) -> dict[str, RunFolder]:
    """The finished runs beside others that were trained by their recipe, by fold.

    Left out, and said to be, are those with another recipe, those that are not finished (scores of
    before they were extended lie there still), and those that score a case which the others score
    too, as folds of other splits do.

    Args:
        network: folder of the folds' runs.
        scored: runs that are in the table already, by fold.
        without: folds that are not asked after.
    """
    if not scored:
        return {}
    recipe = _settings(read_run(next(iter(scored.values()))))
    cases = set().union(*map(_case_ids, scored.values()))
    found: dict[str, RunFolder] = {}
    for folder in map(RunFolder, sorted(network.glob(f"{_FOLD}[0-9]*"))):
        fold = folder.path.name.removeprefix(_FOLD)
        if fold in without or not folder.scores.is_file():
            continue
        try:
            run, theirs = read_run(folder), _case_ids(folder)
        except MednextError as error:
            logger.warning("fold %s is not in the table: %s", fold, error)
            continue
        if not run.is_over or validated_cases(folder.validation) != theirs:
            logger.info("fold %s is not finished and is not in the table", fold)
        elif _settings(run) != recipe or theirs & cases:
            logger.info("fold %s has another recipe or split and is not in the table", fold)
        else:
            found[fold] = folder
            cases |= theirs
    return found


def _settings(run: Run) -> dict[str, Any]:
    """What results depend on, by dotted key; of a fold's first weights, that it has some, and how
    their kernels grew: they are another fold's.
    """
    known = {
        key: key in _PATHS or value for key, value in run.recipe.items() if not is_resultless(key)
    }
    return known | {"begun": run.is_begun_with_weights}


def _case_ids(folder: RunFolder) -> set[str]:
    scores = read_cases(folder.scores, ["dice"]).scores["dice"]
    return set(scores.index.get_level_values("case"))
