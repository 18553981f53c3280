"""cases.csv, as it is read: ours of this version, or a table of another tool."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mednext_cli.evaluation.scoring.scores import FAILED, MISSING
from mednext_cli.evaluation.tables.columns import CSV_VERSION, find_metric
from mednext_cli.foundation.cells import read_cell
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_text

# Which metric a rule of scoring decides; the empty-mask policy decides all, where a mask is empty.
_RULES = {"tolerance_mm": "surface_dice", "protocol": "surface_dice", "hd95_definition": "hd95_mm"}
_SHARE, _MOST = "0 to 1", 1 + 1e-6  # another tool may round
_MARKS = {";": "semicolons", "\t": "tabs"}
_AGAIN = "Run mednext evaluate again to write it anew."


@dataclass(frozen=True, eq=False)
class CasesTable:
    """The metrics of a cases.csv that were asked for.

    Attributes:
        scores: a column a metric, indexed by case and region in the order of the file; cases that
            could not be compared are left out.
        rules: how the metrics were scored: what a column says by (column, region), as far as the
            file has these columns.
    """

    scores: pd.DataFrame
    rules: Mapping[tuple[str, str], frozenset[str]]

    @property
    def cases(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(self.scores.index.unique(level="case"))

    @property
    def regions(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(self.scores.index.unique(level="region"))


def read_cases(path: Path, metrics: Sequence[str]) -> CasesTable:
    """Read some metrics of a cases.csv; a table of another tool will do if it has the columns.

    Raises:
        DatasetError: missing, unreadable, of another version, without a column, with a text where
            a number belongs, with a row twice or without a name, with a share beyond 0 to 1 or a
            distance below 0.
    """
    rows = _read_rows(path, ("case", "region", *metrics))
    scores: dict[tuple[str, str], list[float]] = {}
    rules: dict[tuple[str, str], set[str]] = {}
    for line, row in rows:
        if row.get("status") == FAILED:
            continue
        if not (row["case"].strip() and row["region"].strip()):
            raise DatasetError(f"{path}: line {line} names no case or no region", _AGAIN)
        for column in _deciding(row, metrics):
            rules.setdefault((column, row["region"]), set()).add(row[column])
        key = (row["case"], row["region"])
        if key in scores:
            raise DatasetError(
                f"{path}: line {line} has case {key[0]}, region {key[1]} again", _AGAIN
            )
        scores[key] = [
            _score(row[metric], metric, f"{path}: line {line}, column {metric}")
            for metric in metrics
        ]
    if not scores:
        raise DatasetError(f"{path} holds no scores", _AGAIN)
    return CasesTable(
        scores=pd.DataFrame(
            list(scores.values()), index=index_by_case(scores), columns=list(metrics), dtype=float
        ),
        rules={key: frozenset(found) for key, found in rules.items()},
    )


def index_by_case(keys: Iterable[tuple[str, str]]) -> pd.MultiIndex:
    """Cases and regions as an index; Python's strings, since UTF-8 cannot hold every name."""
    levels = zip(*keys, strict=True)
    arrays = [pd.Index(level, dtype=object) for level in levels]
    return pd.MultiIndex.from_arrays(arrays, names=["case", "region"])


def _deciding(row: Mapping[str, str], metrics: Sequence[str]) -> Iterator[str]:
    """The columns of rules that decided some of a row's metrics."""
    yield from (name for name, metric in _RULES.items() if metric in metrics and name in row)
    if "policy" in row and (row.get("empty") or row.get("status") == MISSING):
        yield "policy"


def _read_rows(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows by column with the number of their line; empty ones are left out."""
    if path.is_dir():
        path = path / "cases.csv"
    lines = _read_lines(path)
    header = lines[0][1] if lines else []
    _check_header(path, header, needed)
    # Another tool's table may hold the name 'a\x1b' and mean it.
    ours = "csv_version" in header
    as_text = read_cell if ours else str
    rows = []
    for line, cells in lines[1:]:
        _check_cells(f"{path}: line {line}", cells, header, whole=ours)
        cells += [""] * (len(header) - len(cells))
        rows.append((line, dict(zip(header, map(as_text, cells), strict=False))))
    versions = {row["csv_version"] for _, row in rows if ours} - {str(CSV_VERSION)}
    if versions:
        found = ", ".join(sorted(versions)) or "unknown"
        raise DatasetError(f"{path} is of version {found}, this is {CSV_VERSION}", _AGAIN)
    return rows


def _read_lines(path: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(read_text(path)))
    try:
        return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read as CSV: {error}", _AGAIN) from error


def _check_header(path: Path, header: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in header]:
        apart = next((name for mark, name in _MARKS.items() if mark in "".join(header)), None)
        remedy = f"Its cells are parted by {apart}: save it with commas." if apart else _AGAIN
        raise DatasetError(f"{path} has no column {', '.join(missing)}", remedy)
    if twice := [name for name in dict.fromkeys(needed) if header.count(name) > 1]:
        raise DatasetError(f"{path} has column {', '.join(twice)} twice", "Keep one of each.")


def _check_cells(where: str, cells: Sequence[str], header: Sequence[str], *, whole: bool) -> None:
    """Raise `DatasetError` where cells are not those of the header.

    A number with a decimal comma, say, moves all that follow. Spreadsheets leave out empty cells at
    the end of a line; our tables have none (`whole`).
    """
    if list(cells) == list(header):
        raise DatasetError(f"{where} is the header again", "Join tables under one header.")
    if any(cells[len(header) :]) or (whole and len(cells) < len(header)):
        raise DatasetError(
            f"{where} has {len(cells)} cells, the header {len(header)}: the file is cut off, or "
            "numbers are written with a comma",
            "Correct the line, or run mednext evaluate again.",
        )


def _score(text: str, metric: str, where: str) -> float:
    value, column = _number(text, where), find_metric(metric)
    if column.unit == _SHARE and not (math.isnan(value) or 0 <= value <= _MOST):
        raise DatasetError(f"{where}: {text} is not from 0 to 1", "Write shares, not per cent.")
    if column.unit == "mm" and value < 0:
        raise DatasetError(f"{where}: {text} is below 0", "Distances are from 0 on.")
    return value


def _number(text: str, where: str) -> float:
    try:
        return float(text) if text.strip() else math.nan
    except ValueError as error:
        raise DatasetError(f"{where}: {text!r} is not a number", _AGAIN) from error
