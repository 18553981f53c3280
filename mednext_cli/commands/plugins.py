"""`mednext plugins`: which commands, layouts, networks and engines there are, and whose."""

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import print_table
from mednext_cli.foundation.errors import PluginError
from mednext_cli.foundation.plugins import KINDS, Plugin, find_plugins


def plugins(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List commands, dataset layouts, networks and engines with the package that brings them.

    Example: mednext plugins
    """
    rows = [
        (plugin.kind, plugin.name, plugin.distribution, plugin.version, _status(plugin))
        for kind in KINDS
        for plugin in find_plugins(kind).values()
    ]
    print_table(("kind", "name", "package", "version", "status"), rows)


def _status(plugin: Plugin) -> str:
    try:
        plugin.load()
    except PluginError as error:
        return error.message
    return "ok"
