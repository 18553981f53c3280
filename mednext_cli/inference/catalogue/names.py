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
    """Of all that ``--model`` gives; see `resolve_model`."""
    return tuple(map(resolve_model, given))


def resolve_model(given: Path, option: str = "--model") -> Path:
    """A path as it is, a name as the folder that it stands for; a path that exists wins.

    Args:
        given: a path or a name. A path with folders in it is no name: whoever reads it says what
            is wrong with it.
        option: that gives it, for what is said.

    Raises:
        CheckpointError: neither a path nor a name. PluginError: see `find_model`.
    """
    name = str(given)
    if _may_be_name(given):
        there, known = _exists(given), name in model_names()
        if there and known:
            logger.warning("%s %s is the path here, not the model of that name", option, name)
        if not there and not known:
            raise CheckpointError(
                f"{name} does not exist, and no model is called that", nearest(name, model_names())
            )
    return model_path(given)


def model_path(given: Path) -> Path:
    """What `resolve_model` gives, and what is neither path nor name as it is; nothing is said.

    Raises:
        CheckpointError, PluginError: see `find_model`.
    """
    return find_model(str(given)).folder if is_model_name(given) else given


def is_model_name(given: Path) -> bool:
    """Whether it stands for a model by its name, and is no path that exists."""
    return _may_be_name(given) and not _exists(given) and str(given) in model_names()


def _may_be_name(given: Path) -> bool:
    return len(given.parts) == 1 and not given.is_absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False
