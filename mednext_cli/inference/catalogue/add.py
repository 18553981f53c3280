"""Models that the user gives a name, and takes it from again."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.foundation.errors import CheckpointError, SettingsError, nearest
from mednext_cli.foundation.files import storage_error
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.inference.catalogue.names import KIND, resolve_model
from mednext_cli.inference.catalogue.own import (
    changing_own,
    check_model_name,
    forget,
    new_folder,
    own_folder,
    own_names,
    point,
)
from mednext_cli.inference.folds import find_checkpoints
from mednext_cli.inference.models import Model, load_models
from mednext_cli.inference.postprocessing.steps import FILE_NAME, load_postprocessing
from mednext_cli.networks.checkpoint import load_checkpoint, save_checkpoint
from mednext_cli.networks.safetensors_files import SUFFIX
from mednext_cli.settings.model_card import (
    CARD_NAME,
    NOT_STATED,
    CardTraining,
    ModelCard,
    read_card,
    unstated_card,
    write_card,
)

_CHECKPOINT = "checkpoint_last.pt"  # where a run folder has it


@dataclass(frozen=True)
class AddModelSpec:
    """What `mednext models add` is asked to do.

    Attributes:
        path: a checkpoint, run folder, folder of folds, or the name of another model.
        name: what to call it.
        card: None takes the one in `path`, or beside it, or makes one of what the checkpoint says.
        force: replace the user's model of that name.
    """

    path: Path
    name: str
    card: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class AddModelResult:
    """Where the copy lies, and whether its card had to be made."""

    folder: Path
    card_made: bool


def add_model(spec: AddModelSpec) -> AddModelResult:
    """Copy a model into the user's data folder, where it is found by its name.

    Whatever happens, the name stands for a whole model, the old one or the new one, or for none.

    Raises:
        SettingsError: no such name can be, it is taken, or the card is damaged.
        CheckpointError: the model cannot be used, or the card is not its own.
        StorageError: the disk refuses.
    """
    name = check_model_name(spec.name)
    _check_free(name, spec.force)
    spec = replace(spec, path=resolve_model(spec.path, "PATH"))
    files = _files_of(spec.path)
    with changing_own():
        _check_free(name, spec.force)  # another may have come first
        folder = new_folder(name)
        for source, place in files.items():
            _copy(source, folder / place)
        models = load_models([folder])  # the copies, which nobody changes any more
        if (folder / FILE_NAME).is_file():
            steps = load_postprocessing(folder / FILE_NAME)
            steps.check(models[0].plan.label_set, spec.path / FILE_NAME)
        made = _write_card(spec, folder, models)
        point(name, folder)
    return AddModelResult(folder, made)


def remove_model(name: str) -> None:
    """Remove a model of the user.

    Raises:
        SettingsError: the user has none of that name.
        StorageError: the disk refuses.
    """
    with changing_own():
        if name not in own_names():
            plugin = find_plugins(KIND).get(name)
            if plugin is not None:
                raise SettingsError(
                    f"the model {name} comes with {plugin.distribution}", "It stays with it."
                )
            raise SettingsError(f"you have no model {name!r}", nearest(name, own_names()))
        forget(name)


def _check_free(name: str, force: bool) -> None:
    plugin = find_plugins(KIND).get(name)
    if plugin is not None:
        raise SettingsError(
            f"the name {name} is that of a model of {plugin.distribution}", "Choose another."
        )
    taken = {own.casefold(): own for own in own_names()}  # as some file systems compare them
    other = taken.get(name.casefold())
    if other is not None and (other != name or not force):
        remedy = "Choose another name" + (", or add --force." if other == name else ".")
        raise SettingsError(f"there is a model {other} already, in {own_folder()}", remedy)


def _files_of(path: Path) -> dict[Path, Path]:
    """What predictions need, by where it lies; its place in the copy."""
    found = find_checkpoints(path)
    if path.is_dir():
        files = {one.path: one.path.relative_to(path) for one in found}
    else:
        files = {path: Path(_CHECKPOINT)}
    beside = _folder_of(path) / FILE_NAME
    return files | ({beside: Path(FILE_NAME)} if beside.is_file() else {})


def _folder_of(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _copy(source: Path, target: Path) -> None:
    if source.suffix == SUFFIX:  # of `mednext export`; run folders hold .pt
        save_checkpoint(target, load_checkpoint(source))
        return
    try:
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise CheckpointError(f"{source} does not exist", "Check the path.") from error
    except OSError as error:
        raise storage_error(target, error) from error


def _write_card(spec: AddModelSpec, folder: Path, models: list[Model]) -> bool:
    """Put the card in place; whether it had to be made."""
    given = spec.card or _folder_of(spec.path) / CARD_NAME
    made = spec.card is None and not given.is_file()
    card = _card_of(models) if made else read_card(given)
    card.check(models[0].plan, given)
    write_card(folder / CARD_NAME, card)
    return made


def _card_of(models: list[Model]) -> ModelCard:
    """What the checkpoints say by themselves; steps and minutes of each, cases of all."""
    checkpoint = models[0].checkpoint
    network, progress = checkpoint.network, checkpoint.progress
    origins = [model.checkpoint.origin for model in models]
    cases = {case for origin in origins if origin for case in origin.training_cases}
    training = CardTraining(
        how=NOT_STATED if len(models) == 1 else f"{len(models)} networks that are averaged",
        network=network.family.label(network.settings),
        iterations=progress.iteration or None,
        minutes=round(progress.step_seconds / 60, 1) or None,
    )
    return unstated_card(models[0].plan, training, len(cases) or None)
