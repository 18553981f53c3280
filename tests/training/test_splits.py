"""Folds equal to nnU-Net's, and splits.json read with care."""

import json
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.training.splits import (
    Split,
    choose_split,
    draw_cases,
    name_folds,
    parse_folds,
    read_split,
    split_cases,
)

# Validation ids of BTCV that nnU-Net's own split gives (reference facts, section 1.1).
_BTCV = [
    [4, 9, 23, 26, 29, 37],
    [1, 7, 8, 31, 32, 35],
    [21, 22, 24, 30, 33, 34],
    [25, 27, 28, 36, 38, 40],
    [2, 3, 5, 6, 10, 39],
]
_BTCV_IDS = [*range(1, 11), *range(21, 41)]


@pytest.mark.parametrize("fold", range(5))
def test_btcv_folds_are_those_of_nnunet(fold: int) -> None:
    ids = [f"ABD_{number:03d}" for number in _BTCV_IDS]
    split = split_cases(ids[::-1], fold)
    assert split.validation == tuple(f"ABD_{number:03d}" for number in _BTCV[fold])
    assert set(split.training) | set(split.validation) == set(ids)
    assert not set(split.training) & set(split.validation)


@pytest.mark.parametrize(
    ("count", "start"),
    [
        (200, [10, 16, 17, 20, 27, 50, 52, 54, 55, 56]),
        (210, [14, 16, 17, 19, 20, 27, 30, 33, 47, 49]),
        (260, [9, 10, 16, 18, 20, 30, 33, 40, 47, 50]),
        (1251, [0, 6, 10, 17, 20, 22, 25, 29, 30, 33]),
    ],
)
def test_first_folds_are_those_of_nnunet(count: int, start: list[int]) -> None:
    split = split_cases([f"{index:04d}" for index in range(count)], 0)
    assert [int(name) for name in split.validation[:10]] == start
    assert len(split.validation) == int(np.ceil(count / 5))


def test_splits_file_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": ["a", "b"], "val": ["c"]}]))
    split = choose_split(["a", "b", "c"], "0", 5, path)
    assert (split.training, split.validation) == (("a", "b"), ("c",))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], "has no fold 0"),
        ([{"train": ["a", "b"], "val": ["b"]}], "b is in train and val"),
        ([{"train": ["a", "x"], "val": ["b"]}], "x is not a labelled case"),
        ([{"train": [], "val": ["b"]}], "trains on no case"),
    ],
)
def test_wrong_splits_files_are_refused(
    tmp_path: Path, content: list[object], expected: str
) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(content))
    with pytest.raises(SettingsError, match=expected):
        read_split(path, 0, ["a", "b", "c"])


@pytest.mark.parametrize(
    ("fold", "expected"), [("5", "no fold 5"), ("x", "not a fold"), ("-1", "not a fold")]
)
def test_wrong_folds_are_refused(tmp_path: Path, fold: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        choose_split(list("abcdef"), fold, 5, tmp_path / "splits.json")


def test_too_few_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"2 labelled cases .*--set training\.folds=2"):
        choose_split(["a", "b"], "0", 5, tmp_path / "splits.json")
    with pytest.raises(SettingsError, match="one labelled case cannot") as error:
        choose_split(["a"], "0", 5, tmp_path / "splits.json")
    assert "training.folds" not in str(error.value)


def test_all_trains_on_everything(tmp_path: Path) -> None:
    split = choose_split(["b", "a"], "all", 5, tmp_path / "splits.json")
    assert (split.training, split.validation) == (("a", "b"), ())


def test_folds_of_the_command_line() -> None:
    assert parse_folds("0") == ("0",)
    assert parse_folds("0, 02,0") == ("0", "2")
    assert parse_folds("all") == ("all",)
    assert parse_folds("cv") is None
    for text in ("", "0,", "0,x", "0-2", "cv,0", "-1"):
        with pytest.raises(SettingsError, match="is not a fold"):
            parse_folds(text)
    with pytest.raises(SettingsError, match="Give it alone"):
        parse_folds("0,all")


def test_all_folds_are_those_of_the_recipe_or_of_the_splits_file(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    assert name_folds(3, path) == ("0", "1", "2")
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"]}] * 2))
    assert name_folds(5, path) == ("0", "1")
    path.write_text("{}")
    with pytest.raises(SettingsError, match="has no fold"):
        name_folds(5, path)


def test_few_training_cases_are_drawn_by_the_seed_and_are_among_more() -> None:
    whole = Split(tuple(f"case_{number:02d}" for number in range(40)), ("val",))
    drawn = [draw_cases(whole, count, 12345) for count in (1, 5, 20)]
    one, five, twenty = (set(split.training) for split in drawn)
    assert one < five < twenty < set(whole.training)
    assert [len(one), len(five), len(twenty)] == [1, 5, 20]
    assert all(split.validation == ("val",) for split in drawn)
    turned = Split(whole.training[::-1], whole.validation)
    assert draw_cases(turned, 5, 12345) == drawn[1]
    assert draw_cases(whole, 5, 0) != drawn[1]
    assert draw_cases(whole, None, 12345) is whole


def test_more_training_cases_than_there_are_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"training\.cases = 3, and 2 cases are there"):
        draw_cases(Split(("a", "b"), ()), 3, 12345)


def test_a_case_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps([{"train": ["a", "b", "a"], "val": ["c", "c"]}]))
    assert read_split(path, 0, ["a", "b", "c"]) == Split(("a", "b"), ("c",))
