"""Commands, layouts, networks, losses and the like are entry points, ours and strangers' alike."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

from mednext_cli.foundation.errors import PluginError, nearest

KINDS = ("commands", "datasets", "networks", "engines", "losses", "callbacks", "models")
BUILT_IN = "mednext"  # the distribution whose names nobody else may take
_SELECTION = "MEDNEXT_PLUGINS"
_NAMED = {"datasets": "dataset layout", "losses": "term of a loss"}


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, its kind, where it points and who brings it."""

    name: str
    kind: str
    target: str
    distribution: str
    version: str
    refused: str = ""

    @property
    def built_in(self) -> bool:
        """Whether it comes with mednext itself."""
        return self.distribution == BUILT_IN

    def load(self) -> Any:  # noqa: ANN401 - each kind has its own type, checked by its caller
        """Import the target.

        Raises:
            PluginError: the plugin was refused, or importing it failed for whatever reason.
        """
        if self.refused:
            raise PluginError(f"plugin {self.name} ({self.distribution}): {self.refused}")
        try:
            return EntryPoint(self.name, self.target, f"mednext.{self.kind}").load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit, too
            if self.built_in and not isinstance(error, ImportError):
                raise
            raise self.broken(f"{type(error).__name__}: {error}") from error

    def broken(self, reason: str) -> PluginError:
        """The line for a plugin that does not load."""
        return PluginError(
            f"plugin {self.name} ({self.distribution}, {self.target}) does not load: {reason}",
            f"Update or uninstall {self.distribution}.",
        )


@cache
def find_plugins(kind: str) -> dict[str, Plugin]:
    """Every plugin of a kind by name, unloaded; ours first, then the strangers'.

    A stranger that takes a name already there is kept under ``name (distribution)`` with the
    reason for its refusal, so that `mednext plugins` can show it. The environment variable
    MEDNEXT_PLUGINS limits strangers to a comma-separated list of distributions (empty: none).
    """
    found: dict[str, Plugin] = {}
    for plugin in sorted(
        _plugins(kind), key=lambda entry: (not entry.built_in, entry.distribution)
    ):
        if plugin.name not in found:
            found[plugin.name] = plugin
        elif found[plugin.name].distribution != plugin.distribution:
            refused = f"the name {plugin.name} is taken by {found[plugin.name].distribution}"
            key = f"{plugin.name} ({plugin.distribution})"
            found[key] = Plugin(**{**vars(plugin), "refused": refused})
    return found


def _plugins(kind: str) -> list[Plugin]:
    selection = os.environ.get(_SELECTION)
    allowed = None if selection is None else {BUILT_IN, *selection.replace(" ", "").split(",")}
    owners = _Owners()
    plugins = []
    for entry in entry_points(group=f"mednext.{kind}"):
        owner, version = owners[entry.dist]
        if allowed is None or owner in allowed:
            plugins.append(Plugin(entry.name, kind, entry.value, owner, version))
    return plugins


class _Owners(dict[Distribution | None, tuple[str, str]]):
    """Name and version by distribution, each read once: it parses a file with a whole README."""

    def __missing__(self, distribution: Distribution | None) -> tuple[str, str]:
        owner = ("unknown", "")
        if distribution is not None:
            about = distribution.metadata
            owner = (about["Name"], about["Version"])
        self[distribution] = owner
        return owner


def load_plugin(kind: str, name: str) -> Any:  # noqa: ANN401 - each kind has its own type
    """Import the plugin of that kind and name.

    Raises:
        PluginError: unknown (the nearest known names are listed), refused or broken.
    """
    plugins = find_plugins(kind)
    if name not in plugins:
        usable = {key: plugin for key, plugin in plugins.items() if not plugin.refused}
        what = _NAMED.get(kind, kind.removesuffix("s"))
        raise PluginError(f"unknown {what} {name!r}", nearest_plugin(name, usable))
    return plugins[name].load()


def nearest_plugin(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Text that lists the known names; where none is near, what another package may bring."""
    text = nearest(name, known)
    if text.startswith("Known"):
        text += ". Install the package that brings it"
        text += f", or name it in {_SELECTION}" if _SELECTION in os.environ else ""
    return text
