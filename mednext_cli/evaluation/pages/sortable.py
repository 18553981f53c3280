"""Tables of a page that its reader sorts by a column."""

from dataclasses import dataclass
from math import isnan

from mednext_cli.evaluation.pages.page import show_number


@dataclass(frozen=True)
class Cell:
    """What is read and what is sorted by; texts are sorted as they are read."""

    text: str
    sort: str | None = None


@dataclass(frozen=True)
class SortableTable:
    """A table, which the macro `sortable_table` draws."""

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def number_cell(value: float) -> Cell:
    """A score, or a difference of two."""
    return Cell(show_number(value), "" if isnan(value) else f"{value:.6g}")


def count_cell(value: float) -> Cell:
    """A count or a rank."""
    return Cell(f"{value:g}", f"{value:g}")


def range_cell(low: float, high: float) -> Cell:
    """An interval of ranks."""
    return Cell("–", "") if isnan(low) else Cell(f"{low:g} to {high:g}", f"{low:g}")


def probability_cell(value: float) -> Cell:
    """A p value, of two digits."""
    return Cell("–", "") if isnan(value) else Cell(f"{value:.2g}", f"{value:.6g}")
