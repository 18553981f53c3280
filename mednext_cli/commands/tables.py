"""Tables on stdout: aligned for people on a terminal, tab-separated for pipes."""

import sys
from collections.abc import Iterable, Sequence


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table; numbers are right-aligned, floats have four significant digits."""
    materialised = [list(row) for row in rows]
    cells = [[_text(value) for value in row] for row in materialised]
    if not sys.stdout.isatty():
        for line in (list(header), *cells):
            print("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for index, name in enumerate(header):
        numeric = all(isinstance(row[index], int | float) for row in materialised)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for line in cells:
        table.add_row(*line)
    Console(markup=False).print(table)  # names of cases and files are no markup


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
