"""`mednext plugins`: which commands, layouts, networks and other parts there are, and whose."""

from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import print_table
from mednext_cli.foundation.plugin_check import check_plugins
from mednext_cli.foundation.plugins import KINDS, find_plugins


def plugins(
    check: Annotated[bool, typer.Option("--check", help="Load each, and say what fails.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """List commands, layouts, networks, engines, losses, callbacks and models, with their packages.

    Example: mednext plugins --check
    """
    rows = []
    for kind in KINDS:
        found = find_plugins(kind)
        state = {key: plugin.refused for key, plugin in found.items()}
        if check:
            state = {key: result.error or "ok" for key, result in check_plugins(found).items()}
        rows += [
            (kind, plugin.name, plugin.distribution, plugin.version, state[key])
            for key, plugin in found.items()
        ]
    print_table(("kind", "name", "package", "version", "status"), rows)
