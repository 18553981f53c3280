"""The families of networks by name, ours and strangers'."""

from typing import Any

from mednext_cli.foundation.errors import PluginError
from mednext_cli.foundation.plugins import find_plugins, load_plugin
from mednext_cli.networks.family import NetworkFamily, NetworkSettings

Family = NetworkFamily[Any]


def find_family(name: str) -> Family:
    """The family of that name.

    Raises:
        PluginError: nobody registered it under `mednext.networks`, or it is no family.
    """
    family = load_plugin("networks", name)
    if not isinstance(family, NetworkFamily):
        raise _strange(name, f"is no NetworkFamily but {type(family).__name__}")
    if getattr(family, "name", None) != name:
        raise _strange(name, f"calls itself {getattr(family, 'name', None)!r}")
    settings = getattr(family, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, NetworkSettings)):
        raise _strange(name, "has no Settings, a class made of NetworkSettings")
    return family


def family_names() -> list[str]:
    """Names that a recipe may give, of what is installed; nothing is imported."""
    return [name for name, plugin in find_plugins("networks").items() if not plugin.refused]


def plain(settings: NetworkSettings) -> dict[str, Any]:
    """Settings as plain values for recipes and checkpoints; what was not said is left out."""
    return settings.model_dump(mode="json", exclude_none=True)


def _strange(name: str, what: str) -> PluginError:
    return PluginError(
        f"the network {name} {what}", "CONTRIBUTING.md says what a network consists of."
    )
