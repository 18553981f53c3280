"""Which folder a model's name stands for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mednext_cli.foundation.errors import CheckpointError, PluginError, nearest
from mednext_cli.foundation.plugins import Plugin, find_plugins
from mednext_cli.inference.catalogue.own import own_folder, own_model, own_names

KIND = "models"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundModel:
    """A model by name.

    Attributes:
        name: what `mednext predict --model` takes.
        source: the package that brings it, or the folder of the user's own.
        folder: that holds the card and the checkpoints.
    """

    name: str
    source: str
    folder: Path


def model_names() -> list[str]:
    """All names, those of mednext first; nothing is imported or read."""
    plugins = find_plugins(KIND)
    ours = [name for name, plugin in plugins.items() if plugin.built_in]
    strangers = [plugin.name for plugin in plugins.values() if not plugin.built_in]
    return list(dict.fromkeys((*ours, *own_names(), *strangers)))


def find_model(name: str) -> FoundModel:
    """The model of that name: mednext's own, else the user's, else a package's.

    Raises:
        CheckpointError: there is none, or the user's is damaged.
        PluginError: its package does not load, or brings no folder.
    """
    plugin = find_plugins(KIND).get(name)
    if plugin is not None and plugin.built_in:
        return _brought(plugin)
    if name in own_names():
        return FoundModel(name, str(own_folder()), own_model(name))
    if plugin is None:
        raise CheckpointError(f"there is no model {name!r}", nearest(name, model_names()))
    return _brought(plugin)


def _brought(plugin: Plugin) -> FoundModel:
    return FoundModel(plugin.name, plugin.distribution, _folder_of(plugin, plugin.load()))


def _folder_of(plugin: Plugin, target: Any) -> Path:  # noqa: ANN401 - a stranger's
    """Of a Python package the folder that it is; of a path the path."""
    places = [target] if isinstance(target, str | Path) else list(getattr(target, "__path__", ()))
    if not places or not Path(places[0]).is_dir():
        raise PluginError(
            f"the model {plugin.name} ({plugin.distribution}, {plugin.target}) is no folder",
            "Its entry point is to name a Python package that holds it, or a path.",
        )
    return Path(places[0])


def resolve_models(given: Sequence[Path]) -> tuple[Path, ...]:
    """Paths as they are, names as the folders that they stand for; a path that exists wins.

    Raises:
        CheckpointError: neither a path nor a name. PluginError: see `find_model`.
    """
    return tuple(map(_resolve, given))


def _resolve(given: Path) -> Path:
    name = str(given)
    is_name = len(given.parts) == 1 and not given.is_absolute()
    if _exists(given):
        if is_name and name in model_names():
            logger.warning("--model %s is the path here, not the model of that name", name)
        return given
    if not is_name:
        return given  # whoever reads it says what is wrong
    if name not in model_names():
        raise CheckpointError(
            f"{name} does not exist, and no model is called that", nearest(name, model_names())
        )
    return find_model(name).folder


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False
