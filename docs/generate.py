"""Write the generated pages of docs/: commands, columns, networks and recipe keys (``make docs``).

With --check nothing is written; the exit code says whether the pages are up to date.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from networks_page import networks_page
from recipe_page import recipe_page

from mednext_cli.commands.csv_tables import columns_page
from mednext_cli.foundation.plugins import find_plugins

_DOCS = Path(__file__).parent
_SHARED = ("quiet", "verbose")
_HEAD = """# The command line

Written by `docs/generate.py` from the commands themselves; `make docs` writes it anew.

All commands take `--help`, `--quiet` (`-q`: warnings and errors only) and `--verbose` (`-v`: more
notes, and where a fault of ours happened). Results and tables go to stdout (tab-separated where it
is no terminal), progress and notes to stderr. Exit codes: 0 done, 1 our fault, 2 yours (one line
says which file or option, and what to do), 130 interrupted; what is done stays, and the same
command carries on.
"""


def command_page() -> str:
    """docs/command_line.md: every command with its arguments, options and example."""
    sections = [_HEAD]
    for plugin in find_plugins("commands").values():
        if plugin.built_in:
            sections += [
                _section(name, work) for name, work in _callbacks(plugin.name, plugin.load())
            ]
    return "\n".join(sections)


def _callbacks(name: str, target: Any) -> Iterator[tuple[str, Callable[..., Any]]]:  # noqa: ANN401
    if not isinstance(target, typer.Typer):
        yield name, target
        return
    for command in target.registered_commands:
        assert command.callback is not None  # noqa: S101 - registered by a decorator
        yield f"{name} {command.name or command.callback.__name__}", command.callback


def _section(name: str, work: Callable[..., Any]) -> str:
    text, _, example = inspect.cleandoc(work.__doc__ or "").rpartition("Example:")
    parameters = [
        parameter
        for parameter in inspect.signature(work).parameters.values()
        if parameter.name not in _SHARED
    ]
    rows = [_row(parameter) for parameter in parameters]
    arguments = "".join(f" {row[0]}" for row in rows if not row[0].startswith("-"))
    lines = [f"## mednext {name}", "", text.strip(), "", f"    mednext {name}{arguments} [options]"]
    if rows:
        lines += ["", "| | default | |", "|---|---|---|"]
        lines += [f"| `{call}` | {default} | {text} |" for call, default, text in rows]
    return "\n".join([*lines, "", "Example:", "", f"    {example.strip()}", ""])


def _row(parameter: inspect.Parameter) -> tuple[str, str, str]:
    """How the parameter is written, its default and its help."""
    kind, info = _annotation(parameter)
    if "Argument" in type(info).__name__:
        call = info.metavar or parameter.name.upper()
    else:
        option = ", ".join(_flags(parameter, info))
        boolean = bool in (kind, *get_args(kind))
        if boolean and parameter.default is not False and "/" not in option:
            option = f"{option}/--no-{option[2:]}"
        call = option if boolean else f"{option} {info.metavar or _metavar(kind)}"
    text = " ".join((info.help or "").split())
    return call.replace("|", "\\|"), _default(parameter, info), text.replace("|", "\\|")


def _flags(parameter: inspect.Parameter, info: Any) -> list[str]:  # noqa: ANN401
    """How an option is written; Typer keeps the first spelling of Annotated ones as default."""
    written = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    return [word for word in written if word.startswith("-")] or [
        f"--{parameter.name.replace('_', '-')}"
    ]


def _annotation(parameter: inspect.Parameter) -> tuple[Any, Any]:
    kind, *metadata = get_args(parameter.annotation)
    return kind, metadata[0]


def _metavar(kind: Any) -> str:  # noqa: ANN401 - any annotation
    names = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}
    for inner in (kind, *get_args(kind)):
        if get_origin(inner) is Literal:
            return "|".join(map(str, get_args(inner)))
        if inner in names:
            return names[inner]
    return "TEXT"


def _default(parameter: inspect.Parameter, info: Any) -> str:  # noqa: ANN401
    if parameter.default is inspect.Parameter.empty:
        return "required"
    if isinstance(info.show_default, str):
        return info.show_default
    if parameter.default is None or parameter.default == [] or parameter.default is False:
        return ""
    return f"`{'on' if parameter.default is True else parameter.default}`"


def main() -> int:
    """Write the pages, or compare them with --check."""
    pages = {
        "command_line.md": command_page(),
        "csv_columns.md": columns_page(),
        "networks.md": networks_page(),
        "recipe_keys.md": recipe_page(),
    }
    stale = []
    for name, text in pages.items():
        path = _DOCS / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"out of date: {', '.join(stale)}. Run make docs.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
