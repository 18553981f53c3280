import csv
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mednext_cli.foundation.cells import read_cell, show_controls, to_cell
from mednext_cli.foundation.files import write_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "'=", "''@", "\uff1d"])
def test_what_a_spreadsheet_would_run_is_quoted(start: str) -> None:
    cell = to_cell(f"{start}1+HYPERLINK('x')")
    assert str(cell)[0] == "'"
    assert str(cell)[1:] == f"{start}1+HYPERLINK('x')"


def test_numbers_stay_numbers_and_none_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, ("=a", "b", "c"), [(-1.5, -2, None), ("-1", float("-inf"), "it's")])
    assert path.read_text() == "'=a,b,c\n-1.5,-2,\n'-1,-inf,it's\n"


@given(st.text(st.characters(), max_size=8))
@example("\t=x")
@example("\r\n")
@example("\\x1b")
@example("\\\x1b[2J")
@example("\\x5cx1b")
@example("\\ufffe\ufffe")
@example("'\x1b")
@example("'-1")
@example("\udc80")
def test_every_text_is_harmless_and_reads_back(text: str) -> None:
    cell = str(to_cell(text))
    assert show_controls(cell) == cell
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert read_cell(cell) == text


def test_cells_survive_a_file(tmp_path: Path) -> None:
    texts = ['a,"b"', "a\nb", "\x1b[31mred", "C:\\x86\\u1234", " =1"]
    write_csv(tmp_path / "table.csv", ("text",), [(text,) for text in texts])
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as stream:
        cells = [row[0] for row in csv.reader(stream)]
    assert [read_cell(cell) for cell in cells[1:]] == texts
    assert "\x1b" not in (tmp_path / "table.csv").read_text(encoding="utf-8")
