"""Whatever a dataset.json holds, a user sees our errors only."""

import json
from pathlib import Path
from typing import Any

import pytest

from mednext_cli.app import main
from mednext_cli.datasets.registry import read_dataset
from tests.datasets.conftest import write_label, write_scan
from tests.fuzzing import HOSTILE, damaged_json, limits, only_ours, seeds

_PAIR = {"image": "./imagesTr/p.nii.gz", "label": "./labelsTr/p.nii.gz"}
_NAMED = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
DESCRIPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "msd": (
        "msd",
        {
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "liver"},
            "training": [_PAIR],
            "test": ["./imagesTs/q.nii.gz"],
        },
    ),
    "version 1": (
        "nnunet",
        {
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "liver"},
            "training": [_PAIR],
            "test": [],
        },
    ),
    "version 2": (
        "nnunet",
        {
            "channel_names": {"0": "CT"},
            "labels": _NAMED,
            "regions_class_order": [1, 2],
            "file_ending": ".nii.gz",
        },
    ),
    "every file": (
        "nnunet",
        {
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, "liver": "1"},
            "file_ending": ".nii.gz",
            "dataset": {"p": {"images": ["imagesTr/p_0000.nii.gz"], "label": "labelsTr/p.nii.gz"}},
        },
    ),
    "folder": (
        "folder",
        {"channel_names": {"0": "CT"}, "labels": _NAMED, "regions_class_order": [1, 2]},
    ),
    "amos": ("amos22", {"training": [{"image": "imagesTr/amos_0001.nii.gz"}], "test": []}),
}


_FILES = {
    "msd": ("imagesTr/p", "imagesTs/q", "labelsTr/p"),
    "nnunet": ("imagesTr/p_0000", "imagesTs/q_0000", "labelsTr/p"),
    "folder": ("images/p", "images/q", "labels/p"),
    "amos22": ("imagesTr/amos_0001", "imagesTs/amos_0002", "labelsTr/amos_0001"),
}


def make_raw(folder: Path, layout: str) -> Path:
    """A labelled and an unlabelled case as a layout wants them."""
    *images, label = _FILES[layout]
    for image in images:
        write_scan(folder / f"{image}.nii.gz")
    write_label(folder / f"{label}.nii.gz")
    return folder


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_damaged_at_random(tmp_path: Path, name: str) -> None:
    layout, whole = DESCRIPTIONS[name]
    raw = make_raw(tmp_path / "raw", layout)
    path = raw / "dataset.json"
    path.write_text(json.dumps(whole))
    assert read_dataset(raw, layout).cases
    for seed in seeds(250):
        path.write_text(json.dumps(damaged_json(whole, seed)))
        with limits(), only_ours(seed):
            dataset = read_dataset(raw, layout)
            assert all(raw in case.channels[0].path.parents for case in dataset.cases), seed
            assert all(Path(case.id).name == case.id for case in dataset.cases), seed


@pytest.mark.parametrize("layout", ["msd", "nnunet", "folder", "amos22"])
def test_something_else_altogether(tmp_path: Path, layout: str) -> None:
    raw = make_raw(tmp_path / "raw", layout)
    for number, value in enumerate(HOSTILE):
        (raw / "dataset.json").write_text(json.dumps(value))
        with limits(), only_ours(number):
            read_dataset(raw, layout)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "nonsense", '{"labels": 1'])
@pytest.mark.parametrize("layout", ["msd", "nnunet", "folder", "amos22"])
def test_what_is_no_json_through_the_command(
    tmp_path: Path, layout: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = make_raw(tmp_path / "raw", layout)
    (raw / "dataset.json").write_text(text)
    call = ["datasets", "verify", str(raw), "--dataset", layout, "--workers", "0"]
    assert main(call) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "dataset.json" in line
