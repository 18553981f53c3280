"""The user's own models: copies in the data folder, found by name.

``NAME.json`` says in which folder beside it the model lies. It is replaced in one step, so that a
name is always that of a whole model, the old one or the new one, whoever is killed when.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from mednext_cli.foundation.errors import CheckpointError, DatasetError, SettingsError
from mednext_cli.foundation.files import make_folder, read_json, storage_error, write_json
from mednext_cli.foundation.locks import locked
from mednext_cli.foundation.names import shown
from mednext_cli.foundation.user_data import user_data_folder
from mednext_cli.settings.values import FileName, Frozen

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FOLDER = re.compile(rf"{_NAME.pattern}-[0-9a-f]{{8}}")
_ENDING = ".json"


class _Entry(Frozen):
    folder: FileName


def own_folder() -> Path:
    """Where the user's models lie; it may not be there."""
    return user_data_folder() / "models"


def check_model_name(name: str) -> str:
    """The name itself, if a model can be called that.

    Raises:
        SettingsError: it leads to another folder, or is no plain name.
    """
    if not _NAME.fullmatch(name) or name.endswith((_ENDING, ".pt", ".")):
        raise SettingsError(
            f"--name {shown(name)}: a model's name is of letters, digits, dots, hyphens and "
            "underscores, begins with a letter or digit, has at most 64 and is not that of a file",
            "Choose another, like kidney-s-k3.",
        )
    return name


def own_names() -> list[str]:
    """Names of the user's models, sorted."""
    try:
        entries = sorted(path.name for path in own_folder().glob(f"*{_ENDING}"))
    except OSError:
        return []
    names = [name.removesuffix(_ENDING) for name in entries]
    return [name for name in names if _NAME.fullmatch(name)]


def own_model(name: str) -> Path:
    """The folder of one of `own_names`.

    Raises:
        CheckpointError: its entry or its folder is damaged or gone.
    """
    entry = own_folder() / f"{name}{_ENDING}"
    remedy = f"Remove it with mednext models remove {name}, and add it again."
    try:
        folder = own_folder() / _Entry.model_validate(read_json(entry)).folder
    except (DatasetError, ValidationError) as error:
        raise CheckpointError(f"{entry} is damaged: it names no folder", remedy) from error
    if not folder.is_dir():
        raise CheckpointError(f"the model {name} is not whole: {folder} is gone", remedy)
    return folder


@contextmanager
def changing_own() -> Iterator[None]:
    """Alone with the user's models; what nobody names is removed afterwards.

    Raises:
        StorageError: the disk refuses.
    """
    with locked(own_folder(), briefly=True):
        try:
            yield
        finally:
            _remove_unnamed()


def new_folder(name: str) -> Path:
    """An empty folder for a model of that name; call it in `changing_own`."""
    return make_folder(own_folder() / f"{name}-{os.urandom(4).hex()}")


def point(name: str, folder: Path) -> None:
    """From now on, that is the model of this name; call it in `changing_own`."""
    write_json(own_folder() / f"{name}{_ENDING}", {"folder": folder.name})


def forget(name: str) -> None:
    """There is no model of this name any more; call it in `changing_own`.

    Raises:
        StorageError: the disk refuses.
    """
    entry = own_folder() / f"{name}{_ENDING}"
    try:
        entry.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(entry, error) from error


def _remove_unnamed() -> None:
    named = set()
    for name in own_names():
        with contextlib.suppress(CheckpointError):
            named.add(own_model(name).name)
    for folder in own_folder().iterdir():
        if _FOLDER.fullmatch(folder.name) and folder.name not in named and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
