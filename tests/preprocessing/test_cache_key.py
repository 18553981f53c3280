"""What a case's file was made from decides whether it is made again."""

import json
from pathlib import Path
from typing import Any

import pytest

from mednext_cli.app import main
from tests.preprocessing.synthetic import image_of, label_of, make_raw

Capture = pytest.CaptureFixture[str]


def _describe(raw: Path, **labels: Any) -> None:
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, **labels},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))


def _preprocess(raw: Path, capsys: Capture) -> str:
    capsys.readouterr()
    folders = [str(raw), "--cache", str(raw.parent / "cache"), "--workers", "0"]
    assert main(["preprocess", *folders, "--dataset", "nnunet", "--spacing", "2"]) == 0
    return capsys.readouterr().out


def test_a_label_that_becomes_the_ignore_label_is_made_anew(
    tmp_path: Path, capsys: Capture
) -> None:
    """The label maps hold the same values before and after."""
    raw = make_raw(tmp_path, 1).rename(tmp_path / "Dataset090_Blobs")
    image_of(raw).rename(raw / "imagesTr" / "case_0_0000.nii.gz")
    assert label_of(raw).is_file()
    _describe(raw, left=1, right=2)
    assert "cases made\t1\n" in _preprocess(raw, capsys)
    assert "cases made\t0\n" in _preprocess(raw, capsys)
    _describe(raw, left=1, ignore=2)
    assert "cases made\t1\n" in _preprocess(raw, capsys)
    assert "cases made\t0\n" in _preprocess(raw, capsys)
