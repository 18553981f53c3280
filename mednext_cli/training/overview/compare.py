"""Runs beside each other: what each one is, and where their recipes differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mednext_cli.foundation.columns import Table
from mednext_cli.foundation.errors import MednextError, SettingsError
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.overview.columns import COMPARED, RUN, RUNS
from mednext_cli.training.overview.find import find_runs
from mednext_cli.training.overview.read import Run, read_run

_FACTS = ("state", "epochs", "of_epochs", "minutes", "patch_dice", "dice", "cases")
Row = dict[str, object]


@dataclass(frozen=True)
class Found:
    """The runs below some folders.

    Attributes:
        runs: those that can be read.
        passed_over: why each of the others cannot, a line each.
    """

    runs: tuple[Run, ...]
    passed_over: tuple[str, ...]

    def rows(self, below: Path) -> list[Row]:
        """Those of `columns.RUNS`, with paths as from `below`."""
        return [run.cells(below) for run in self.runs]


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other.

    Attributes:
        table: with a column a run.
        rows: a fact, or a key of the recipe that differs, each.
        same_cases: whether all that are scored are scored on the same cases.
    """

    table: Table
    rows: tuple[Row, ...]
    same_cases: bool


def list_runs(folders: Iterable[Path]) -> Found:
    """Read every run at and below these folders; damaged ones are passed over.

    Raises:
        SettingsError: one of the folders is not there, or there is no run below it.
    """
    runs, passed_over = [], []
    for folder in find_runs(folders):
        try:
            runs.append(read_run(folder))
        except MednextError as error:
            passed_over.append(f"{folder.path} is passed over: {error.message}")
    return Found(tuple(runs), tuple(passed_over))


def show_run(folder: Path) -> list[Row]:
    """The rows of `columns.SHOWN` about one run.

    Raises:
        SettingsError: the folder is no run, or holds several.
        MednextError: the run is damaged.
    """
    found = find_runs([folder])
    if len(found) > 1:
        raise SettingsError(f"{folder} holds {len(found)} runs", f"Name one, like {found[0].path}.")
    run = read_run(found[0])
    cells = run.cells(run.folder.path)
    usual = flatten(Recipe().model_dump(mode="json"))
    other = {key: value for key, value in run.recipe.items() if usual.get(key) != value}
    facts = {name: cells[name] for name in RUNS.names}
    remarks = [("note", remark) for remark in run.remarks]
    pairs = [*facts.items(), *_dice_of(run).items(), *remarks, *_texts(other).items()]
    return [{"what": what, "value": value} for what, value in pairs]


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Put runs beside each other.

    Raises:
        SettingsError: there are fewer than two.
    """
    if len(runs) < 2:
        raise SettingsError("one run is no comparison", "Name two or more, or a folder above.")
    names = _short_names([run.folder.path for run in runs])
    described = [_facts(run) | _texts(dict(run.recipe)) for run in runs]
    facts = dict.fromkeys(key for run in runs for key in _facts(run))
    keys = dict.fromkeys(key for run in runs for key in run.recipe)
    differing = [key for key in keys if len({str(one.get(key)) for one in described}) > 1]
    rows = [
        {"what": what} | {name: one.get(what) for name, one in zip(names, described, strict=True)}
        for what in (*facts, *differing)
    ]
    scored = {run.cases for run in runs if run.cases}
    return Comparison(COMPARED.expand(RUN, names), tuple(rows), len(scored) <= 1)


def _facts(run: Run) -> Row:
    cells = run.cells(run.folder.path)
    return {name: cells[name] for name in _FACTS} | _dice_of(run)


def _dice_of(run: Run) -> Row:
    return {f"dice {region}": value for region, value in run.dice.items()}


def _texts(values: dict[str, Any]) -> Row:
    """Lists as TOML has them; a number stays one."""
    return {
        key: str(value) if isinstance(value, list | bool) else value
        for key, value in values.items()
    }


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The paths without the folders above that all of them share."""
    shared = 0
    deepest = min(len(path.parts) for path in paths) - 1
    while shared < deepest and len({path.parts[shared] for path in paths}) == 1:
        shared += 1
    return [Path(*path.parts[shared:]).as_posix() for path in paths]
