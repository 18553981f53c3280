"""The columns of our CSV files: each with its meaning, its unit and what an empty mask gives.

A room describes the files it writes as a `Table` and writes them through it, so that no header is
without a description. `mednext_cli.commands.csv_tables` lists them all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.foundation.files import write_csv

LARGER, SMALLER = "larger", "smaller"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: as the header spells it; a word in capitals stands for names that the data give.
        meaning: one sentence.
        unit: of the number; "" for texts and shares.
        empty: what it holds where a mask is empty, under the default policy.
        better: `LARGER` or `SMALLER` where methods can be ranked by it.
    """

    name: str
    meaning: str
    unit: str = ""
    empty: str = ""
    better: str = ""


@dataclass(frozen=True)
class Table:
    """A CSV file, or a table on stdout, which is one as well where it is piped.

    Attributes:
        title: name of the file, or the command that prints the table.
        about: what a row is and which command writes it; sentences in Markdown.
        columns: always there, in this order.
        further: columns that follow where the rows have them.
        condition: when they do, as Markdown.
        digits: significant digits of numbers with a fraction; None writes them so that reading
            gives the same number back.
    """

    title: str
    about: str
    columns: tuple[Column, ...]
    further: tuple[Column, ...] = ()
    condition: str = ""
    digits: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The header, without the further columns."""
        return tuple(column.name for column in self.columns)

    def cells(self, row: Mapping[str, object]) -> list[object]:
        """A row's values in the order of the header."""
        return [row[name] for name in self.names]

    def expand(self, name: str, names: Sequence[str]) -> "Table":
        """The table with one column of each of these names in place of column `name`."""
        columns = (
            [replace(column, name=new) for new in names] if column.name == name else [column]
            for column in self.columns
        )
        return replace(self, columns=tuple(column for group in columns for column in group))

    def write(self, path: Path, rows: Iterable[Mapping[str, object]]) -> None:
        """Write rows by column name; what they hold beside the columns is left out.

        Raises:
            StorageError: the file cannot be written.
        """
        listed = list(rows)
        further = tuple(column for column in self.further if listed and column.name in listed[0])
        whole = replace(self, columns=(*self.columns, *further))
        write_csv(path, whole.names, map(whole.cells, listed), self.digits)
