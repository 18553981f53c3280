"""What commands print on stdout: tables and lines, aligned for people, tab-separated for pipes."""

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

import typer

from mednext_cli.foundation.text import printable

Rows = Iterable[Sequence[object]]
_RULES = 3  # columns on the screen that each column's frame takes


def print_table(header: Sequence[str], rows: Rows, title: str = "") -> None:
    """Print what the command was asked for; numbers are right-aligned, of four digits."""
    materialised = [list(row) for row in rows]
    cells = [[_text(value) for value in row] for row in materialised]
    if not sys.stdout.isatty():
        for line in (list(header), *cells):
            print("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    widths = [max(len(word) for word in name.split()) for name in header]
    for index, (name, width) in enumerate(zip(header, widths, strict=True)):
        numeric = all(isinstance(row[index], int | float | None) for row in materialised)
        side: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(name, justify=side, overflow="fold", min_width=width)
    for line in cells:
        table.add_row(*line)
    console = Console(markup=False)  # names of cases and files are no markup
    # Words of a header stay whole: a narrow terminal wraps the lines instead.
    console.width = max(console.width, sum(widths) + _RULES * len(widths) + 1)
    console.print(table, soft_wrap=True)


def report_table(header: Sequence[str], rows: Rows, title: str = "") -> None:
    """Print what a command has done, in numbers; nothing with --quiet."""
    if not _is_quiet():
        print_table(header, rows, title)


def report(text: str) -> None:
    """Print what a command has done, in a line; nothing with --quiet."""
    if not _is_quiet():
        typer.echo(printable(text))


def _is_quiet() -> bool:
    return not logging.getLogger("mednext_cli").isEnabledFor(logging.INFO)


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else printable(str(value))
