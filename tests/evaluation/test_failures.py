"""A case that fails stops no other, whatever it fails by."""

import csv

import pytest

from mednext_cli.app import main
from mednext_cli.evaluation.scoring import score_case
from mednext_cli.volumes import footprint

REAL = score_case.read_labels


def evaluate(folders, *options):
    return main(["evaluate", *map(str, folders), "--workers", "0", *options])


def statuses(folder):
    with (folder / "cases.csv").open(newline="") as stream:
        return {row["case"]: row["status"] for row in csv.DictReader(stream)}


@pytest.mark.parametrize("kind", [TypeError, ZeroDivisionError, RecursionError, KeyError])
def test_an_unexpected_error_is_that_cases_and_ours(folders, monkeypatch, capsys, kind):
    def fail(path, names=None):
        if "case_1" in path.name:
            raise kind("nobody thought of this")
        return REAL(path, names)

    monkeypatch.setattr(score_case, "read_labels", fail)
    assert evaluate(folders) == 1
    assert statuses(folders[0]) == {"case_0": "ok", "case_1": "failed", "case_2": "ok"}
    said = capsys.readouterr()
    assert f"case_1: {kind.__name__}: " in said.err
    assert "fault of ours" in said.err.splitlines()[-1]
    assert "The others are scored." in said.err.splitlines()[-1]
    assert "label_1" in said.out
    assert kind.__name__ in (folders[0] / "report.html").read_text(encoding="utf-8")


def test_a_fault_of_ours_and_a_users_fault_are_told_apart(folders, monkeypatch, capsys):
    def fail(path, names=None):
        if "case_1" in path.name:
            raise TypeError("nobody thought of this")
        return REAL(path, names)

    monkeypatch.setattr(score_case, "read_labels", fail)
    (folders[0] / "case_2.nii.gz").write_bytes(b"no scan")
    assert evaluate(folders) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 3 cases failed: case_1, case_2 (case_1 by a fault of ours)" in line
    assert statuses(folders[0])["case_0"] == "ok"


def test_all_failed_says_nothing_of_others(folders, capsys):
    for path in folders[0].iterdir():
        path.write_bytes(b"no scan")
    assert evaluate(folders) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "3 of 3 cases failed" in line
    assert "others" not in line


def test_choosing_workers_does_not_trip_over_a_header(folders, monkeypatch):
    def fail(path, index):
        raise TypeError("a header nobody thought of")

    monkeypatch.setattr(footprint, "read_grid", fail)
    assert main(["evaluate", *map(str, folders)]) == 0
