"""The `mednext` command: finds the subcommands, runs one, turns errors into one line.

Exit codes: 0 done, 1 our fault, 2 the user's, 130 interrupted; 141 where what it printed was no
longer read (``mednext ... | head``).
"""

import contextlib
import errno
import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mednext_cli import __version__
from mednext_cli.foundation.devices import is_out_of_memory
from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.idle_threads import let_threads_sleep
from mednext_cli.foundation.plugins import Plugin, find_plugins
from mednext_cli.foundation.progress import set_verbosity
from mednext_cli.foundation.signals import ignore_signals, stop_on_signals
from mednext_cli.foundation.streams import prepare_streams
from mednext_cli.foundation.text import printable

logger = logging.getLogger(__name__)
_OUR_FAULT, _USERS_FAULT, _INTERRUPTED = 1, 2, 130
_STRANGERS = "Commands of plugins"


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mednext` with these arguments (default: the command line's) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    set_verbosity()
    try:
        return _run(arguments)
    except MednextError as error:
        _say(str(error))
        return error.exit_code
    except typer.TyperException as error:
        if text := _text_of(error):  # empty: the help was shown instead
            _say(f"{text.rstrip('.')}. See mednext {_command_of(arguments)}--help")
        return _USERS_FAULT
    except (typer.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except Exception as error:
        if logger.isEnabledFor(logging.DEBUG):
            raise
        return _explain(error)


def _explain(error: Exception) -> int:
    """Say in one line what nobody foresaw; the exit code."""
    if isinstance(error, ModuleNotFoundError) and error.name and "mednext" not in error.name:
        _say(
            f"the package {error.name} is not installed, or not whole. Install mednext again: "
            "pip install --force-reinstall mednext"
        )
        return _USERS_FAULT
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        _say(f"{error.filename} does not exist: no name can be that long. Check the path.")
        return _USERS_FAULT
    if is_out_of_memory(error):
        _say(
            "there is too little memory, on this machine or by the limits of ulimit or a batch "
            "system. Use a machine with more, raise the limit, or ask for less (--workers 1)."
        )
        return _USERS_FAULT
    text = " ".join(str(error).split())
    _say(
        f"mednext failed: {type(error).__name__}: {text}. This is a fault of ours; --verbose shows "
        "where, please report it."
    )
    return _OUR_FAULT


def main_and_exit() -> None:
    """The console script."""
    let_threads_sleep()
    prepare_streams()
    stop_on_signals()
    code = main()
    ignore_signals()
    if code == _INTERRUPTED:
        _say("interrupted; what is done stays, the same command carries on")
    try:
        sys.stdout.flush()
    except MednextError as error:
        _say(str(error))
        code = code or error.exit_code
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    app = build_app(arguments)
    outcome = app(args=arguments, prog_name="mednext", standalone_mode=False)
    return outcome if isinstance(outcome, int) else 0


def build_app(arguments: Sequence[str] = ()) -> typer.Typer:
    """The Typer app with the subcommand that `arguments` call, or with all where they call none.

    Raises:
        PluginError: the subcommand that was called does not load. Strangers' commands that do not
            are named and left out.
    """
    commands = find_plugins("commands")
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    known = called in commands and not commands[called].refused
    app = _empty_app(with_options=not known or called != arguments[0])
    if called in commands and known:
        _add(app, commands[called])
        return app
    add = _add if not arguments or called else _show  # alone, options ask for help or the version
    for plugin in commands.values():
        if plugin.built_in:
            add(app, plugin)
    _add_strangers(app, {key: plugin for key, plugin in commands.items() if not plugin.built_in})
    return app


def _empty_app(*, with_options: bool) -> typer.Typer:
    """`mednext` without commands; its own options cost a tenth of a second where none is given."""
    app = typer.Typer(
        help="MedNeXt: 3D medical image segmentation, from raw scans to a leaderboard.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=with_options,
        add_help_option=with_options,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback()(_options_of_mednext if with_options else _no_options)
    return app


def _add_strangers(app: typer.Typer, commands: dict[str, Plugin]) -> None:
    """Add what the help says of them; importing one here could end or delay everything."""
    from mednext_cli.foundation.plugin_check import check_plugins

    for key, check in check_plugins(commands).items() if commands else ():
        plugin = commands[key]
        if check.error:
            logger.warning("%s", plugin.broken(check.error))
        else:
            app.command(plugin.name, help=check.help, rich_help_panel=_STRANGERS)(_stand_in)


def _stand_in() -> None:
    """Never called: a command that is called is loaded itself."""


def _add(app: typer.Typer, plugin: Plugin) -> None:
    """Add one command; raises `PluginError` where it does not load."""
    target = plugin.load()
    panel = "Commands" if plugin.built_in else _STRANGERS
    if isinstance(target, typer.Typer):
        app.add_typer(target, name=plugin.name, rich_help_panel=panel)
    else:
        app.command(plugin.name, rich_help_panel=panel)(target)


def _show(app: typer.Typer, plugin: Plugin) -> None:
    """Add what the help says of a command; Typer takes a while to look at the options of all."""
    target = plugin.load()
    if isinstance(target, typer.Typer):
        app.command(plugin.name, help=target.info.help, rich_help_panel="Commands")(_stand_in)
    else:
        app.command(plugin.name, help=target.__doc__, rich_help_panel="Commands")(_stand_in)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mednext {__version__}")
        raise typer.Exit


def _options_of_mednext(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """MedNeXt: 3D medical image segmentation, from raw scans to a leaderboard."""


def _text_of(error: typer.TyperException) -> str:
    """What Typer says, without the name that pydantic gives the kind of fault."""
    return " ".join(error.format_message().split()).replace(": Value error, ", ": ", 1)


def _no_options() -> None:
    """MedNeXt: 3D medical image segmentation, from raw scans to a leaderboard."""


def _command_of(arguments: Sequence[str]) -> str:
    called = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    return f"{called} " if called in find_plugins("commands") else ""


def _say(text: str) -> None:
    """A line on stderr; there is nowhere to complain where that refuses."""
    if text:
        text = printable(text)
        with contextlib.suppress(OSError):
            typer.echo(text if text.startswith("interrupted") else f"error: {text}", err=True)
