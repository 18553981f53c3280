"""Names of cases that do harm elsewhere: a terminal, a spreadsheet or an SVG file obeys them."""

import csv
from xml.etree import ElementTree

import pytest

from mednext_cli.app import main
from mednext_cli.foundation.cells import read_cell
from tests.evaluation.conftest import boxes

NAMES = ("-1", "=1+1", "@x", "+x", "'=x", "C:\\x1b", "<b>&amp;")
STEERING = "a\x1b[2Jb\x07"  # as a file's name it is refused; as text in a table it may come


@pytest.fixture
def tables(tmp_path, write_labels):
    for name in NAMES:
        write_labels(tmp_path / "labels" / f"{name}.nii.gz", boxes())
        for shift, method in enumerate(("good", "bad")):
            write_labels(tmp_path / method / f"{name}.nii.gz", boxes(shift=shift))
    for method in ("good", "bad"):
        arguments = [str(tmp_path / method), str(tmp_path / "labels")]
        assert main(["evaluate", *arguments, "--workers", "0"]) == 0
    return tmp_path / "good", tmp_path / "bad"


def test_every_name_survives_evaluate_and_leaderboard(tables, tmp_path):
    with (tables[0] / "cases.csv").open(newline="", encoding="utf-8") as stream:
        cells = [row["case"] for row in csv.DictReader(stream)]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r"]
    assert sorted({read_cell(cell) for cell in cells}) == sorted(NAMES)
    # A table that another tool wrote, with the names as they are, has the same cases.
    other = tmp_path / "other.csv"
    with other.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("case", "region", "dice"),
                                      *((name, "label_1", 0.5) for name in NAMES)])  # fmt: skip
    methods = [f"good={tables[0]}", f"bad={tables[1]}", f"other={other}"]
    out = ["--metric", "dice", "--out", str(tmp_path / "ranks")]
    assert main(["leaderboard", *methods, *out]) == 0
    with (tmp_path / "ranks" / "leaderboard.csv").open(newline="", encoding="utf-8") as stream:
        assert {row["cases"] for row in csv.DictReader(stream)} == {str(len(NAMES))}


def test_no_control_character_reaches_a_page_or_a_plot(tables, tmp_path):
    other = tmp_path / "other.csv"
    rows = (tables[1] / "cases.csv").read_text(encoding="utf-8").replace("'=1+1", STEERING)
    other.write_text(rows.replace("label_2", STEERING), encoding="utf-8")
    methods = [f"good\x1b[2J={other}", f"+bad\x07={other}"]
    assert main(["leaderboard", *methods, "--out", str(tmp_path / "ranks")]) == 0
    for path in (tmp_path / "ranks").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not [letter for letter in text if letter < " " and letter != "\n"], path
        assert "\\x07" in text, path
        if path.suffix == ".svg":
            ElementTree.fromstring(text)


def test_files_of_such_names_are_refused(folders, capsys):
    path = folders[0] / "case_0.nii.gz"
    path.rename(path.with_name(f"{STEERING}.nii.gz"))
    assert main(["evaluate", *map(str, folders), "--workers", "0"]) == 2
    assert "\x1b" not in capsys.readouterr().err
