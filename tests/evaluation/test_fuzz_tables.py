"""Damaged tables and descriptions: a result, or one line of ours; nothing else."""

import csv
import io
import json
import random

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.evaluation.leaderboard import LeaderboardSpec, leaderboard
from mednext_cli.foundation.errors import DatasetError
from tests.fuzzing import HOSTILE, damaged_bytes, damaged_json, limits, only_ours, seeds

HEADER = (
    "case", "region", "dice", "hd95_mm", "tolerance_mm", "empty", "status", "policy",
    "csv_version", "hd95_definition", "protocol",
)  # fmt: skip
ROWS = [
    [f"case_{case}", region, f"{0.5 + 0.1 * case}", f"{1.5 + case}", "1.0", "", "ok", "nnunet",
     "1", "surface_distance", ""]
    for case in range(4) for region in ("left", "right")
]  # fmt: skip


def text_of(rows):
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    return stream.getvalue()


def damaged_table(seed):
    """Cells replaced, rows removed, shortened and lengthened; or bytes."""
    if seed % 2:
        return damaged_bytes(text_of([HEADER, *ROWS]).encode(), seed)
    chance = random.Random(seed)
    rows = [list(row) for row in (HEADER, *ROWS)]
    for _ in range(chance.choice((1, 1, 2, 3))):
        row = chance.choice(rows)
        kind = chance.choice(("set", "set", "set", "remove", "shorten", "lengthen", "repeat"))
        if kind == "set" and row:
            row[chance.randrange(len(row))] = str(chance.choice(HOSTILE))
        elif kind == "remove":
            rows.remove(row)
        elif kind == "repeat":
            rows.append(list(row))
        elif kind == "shorten" and row:
            row.pop()
        else:
            row.append(str(chance.choice(HOSTILE)))
    return text_of(rows).encode("utf-8", "surrogatepass")


def test_damaged_tables_end_in_ranks_or_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("mednext_cli.evaluation.leaderboard._SAMPLES", 20)
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text(text_of([HEADER, *ROWS]))
    for seed in seeds(30):
        bad.write_bytes(damaged_table(seed))
        missing = ("drop", "worst")[seed % 2]
        spec = LeaderboardSpec(
            {"good": good, "bad": bad}, tmp_path / "out", ("dice", "hd95"), missing
        )
        with limits(), only_ours(seed):
            ranks = [row.rank for row in leaderboard(spec).rows]
            assert set(ranks) <= {1, 2}, seed


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column"),
        (b"\0" * 50, "has no column"),
        (b"case,region,dice\n", "holds no scores"),
        (b"case,region,dice\na,,0.5\n", "line 2 names no case or no region"),
        (b'case,region,dice\n"' + b"x" * 200_000 + b'",r,0.5\n', "cannot be read as CSV"),
        (b"case,region,dice\n\xff,r,0.5\n", "UTF-8"),
        (b"[" * 100_000, "has no column"),
        (b'{"mean": {"1": {"Dice": 0.5}}}', "has no column"),
        (b"case,region,dice\na,r,1e400\n", "not from 0 to 1"),
        (b"case,region,dice\na,r,0x10\n", "not a number"),
        (b"case,region,dice\na,r,0,5\n", "line 2 has 4 cells, the header 3"),
        (b"case,region,dice,csv_version\na,r,0.5,1\nb,r,0.", "line 3 has 3 cells, the header 4"),
        (b"case,region,dice\na,r,0.5\n\ncase,region,dice\n", "line 4 is the header again"),
        (b"case,region,dice,dice\na,r,0.5,0.6\n", "has column dice twice"),
        (b"case;region;dice\na;r;0,5\n", "parted by semicolons: save it with commas"),
    ],
)
def test_what_is_no_table_of_scores_is_one_line(tmp_path, content, said):
    path = tmp_path / "cases.csv"
    path.write_bytes(content)
    spec = LeaderboardSpec({"a": path, "b": path}, tmp_path / "out", ("dice",))
    with pytest.raises(DatasetError, match=said) as caught:
        leaderboard(spec)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_lines_and_cells_of_spreadsheets_are_left_out(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("case,region,dice,hd95_mm,,\na,r,0.5,1,,\n,,,,,\nb,r,0.25\n\n")
    spec = LeaderboardSpec({"a": path, "b": path}, tmp_path / "out", ("dice",))
    assert leaderboard(spec).cases == ("a", "b")


def test_a_distance_below_zero_is_refused(tmp_path):
    path = tmp_path / "cases.csv"
    path.write_text("case,region,hd95_mm\na,r,-1.0\n")
    with pytest.raises(DatasetError, match=r"line 2, column hd95_mm: -1\.0 is below 0"):
        leaderboard(LeaderboardSpec({"a": path, "b": path}, tmp_path / "out", ("hd95",)))


REGIONS = {
    "channel_names": {"0": "CT"}, "file_ending": ".nii.gz", "numTraining": 1,
    "labels": {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3},
    "regions_class_order": [1, 2],
}  # fmt: skip
NUMBERED = {
    "modality": {"0": "CT"}, "labels": {"0": "background", "1": "a", "2": "b"}, "test": [],
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
}  # fmt: skip
RECORD = {
    "provenance": {
        "label_set": {"labels": {"liver": 1, "tumour": 2}, "regions": {"whole": [1, 2]},
                      "ignore": None, "region_training": False}
    }
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content"),
    [("l/dataset.json", REGIONS), ("l/dataset.json", NUMBERED), ("p/predict.json", RECORD)],
)
def test_damaged_descriptions_name_labels_or_are_said(tmp_path, name, content):
    array = np.zeros((5, 5, 5), np.uint8)
    array[1:3, 1:4, 1:4], array[3, 1:4, 1:4] = 1, 2
    for folder in ("p", "l"):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / folder / "a.nii.gz")
    path = tmp_path / name
    for seed in seeds(25):
        text = json.dumps(damaged_json(content, seed)).encode("utf-8", "surrogatepass")
        path.write_bytes(damaged_bytes(text, seed) if seed % 5 == 4 else text)
        dataset = (None, "nnunet", "msd", "folder")[seed % 4]
        spec = EvaluateSpec(tmp_path / "p", tmp_path / "l", tmp_path / "out", dataset, workers=0,
                            report=False, summary_json=True)  # fmt: skip
        with limits(), only_ours(seed):
            failed = evaluate(spec).failed
            assert not any(outcome.ours for outcome in failed.values()), seed
