"""Tables of columns: what is written, and in which order."""

import math
from pathlib import Path

import pytest

from mednext_cli.foundation.columns import Column, Table
from mednext_cli.foundation.files import read_text

TABLE = Table(
    "x.csv",
    "Rows.",
    (Column("case", "Id."), Column("dice_REGION", "Dice."), Column("note", "Text.")),
    further=(Column("lesions", "Count."), Column("f1", "Share.")),
)


def test_rows_are_written_by_name_and_what_has_no_column_is_left_out(tmp_path: Path) -> None:
    table = TABLE.expand("dice_REGION", ["dice_a", "dice_b"])
    row = {"note": "=1+1", "dice_b": 0.1, "dice_a": math.nan, "case": "k", "other": 1}
    table.write(tmp_path / "x.csv", [row])
    assert read_text(tmp_path / "x.csv") == "case,dice_a,dice_b,note\nk,nan,0.1,'=1+1\n"
    assert table.cells(row)[1:3] == [row["dice_a"], 0.1]


@pytest.mark.parametrize("name", ["lesions", "f1"])
def test_further_columns_follow_where_rows_have_them(tmp_path: Path, name: str) -> None:
    TABLE.write(tmp_path / "x.csv", [{"case": 1, "dice_REGION": 1, "note": None, name: 2}])
    assert read_text(tmp_path / "x.csv") == f"case,dice_REGION,note,{name}\n1,1,,2\n"


def test_without_rows_there_is_a_header(tmp_path: Path) -> None:
    TABLE.write(tmp_path / "x.csv", [])
    assert read_text(tmp_path / "x.csv") == "case,dice_REGION,note\n"


def test_a_row_without_a_column_is_a_fault_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="note"):
        TABLE.write(tmp_path / "x.csv", [{"case": 1, "dice_REGION": 1}])
    assert not list(tmp_path.iterdir())


def test_digits_round_fractions_alone(tmp_path: Path) -> None:
    table = Table("x.csv", "", (Column("a", ""), Column("b", "")), digits=4)
    table.write(tmp_path / "x.csv", [{"a": 123456, "b": -1.23456}, {"a": 1e-7, "b": 2.0}])
    assert read_text(tmp_path / "x.csv") == "a,b\n123456,-1.235\n1e-07,2\n"
