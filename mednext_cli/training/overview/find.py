"""Where the runs below a folder lie."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.training.run_folder import RunFolder


def find_runs(folders: Iterable[Path]) -> tuple[RunFolder, ...]:
    """The runs at and below these folders, each once, sorted below each folder.

    A run is a folder `foldN` with a recipe, a log or a checkpoint in it; links are not followed.

    Raises:
        SettingsError: one of the folders is not there, or there is no run below it.
    """
    found: dict[Path, RunFolder] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SettingsError(f"{folder} is no folder", "Name the folder of --runs, or a run.")
        below = {path: RunFolder(path) for path in sorted(_runs_below(folder))}
        if not below:
            raise SettingsError(f"{folder} holds no runs", "mednext train NAME begins one.")
        found |= below
    return tuple(found.values())


def _runs_below(folder: Path) -> Iterator[Path]:
    for name, below, _ in os.walk(folder):
        path = Path(name)
        if _is_run(path):
            below.clear()
            yield path


def _is_run(path: Path) -> bool:
    run = RunFolder(path)
    marks = (run.recipe, run.log, run.last)
    return path.resolve().name.startswith("fold") and any(mark.is_file() for mark in marks)
