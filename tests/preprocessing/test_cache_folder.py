"""Preprocessing never writes over raw data, nor over the cache of other raw data."""

from pathlib import Path

import pytest

import mednext_cli.preprocessing.run as run_module
from mednext_cli.app import main
from mednext_cli.foundation.errors import ScanError
from tests.preprocessing.synthetic import image_of, make_raw, run


def _phantom(raw: Path, cases: int, seed: int) -> None:
    command = ["phantom", str(raw), "--cases", str(cases), "--seed", str(seed), "--workers", "0"]
    assert main([*command, "--shape", "12,48,48"]) == 0


def _preprocess(raw: Path, cache: Path, *options: str) -> int:
    always = ["--dataset", "kits19", "--spacing", "8", "--workers", "0"]
    return main(["preprocess", str(raw), "--cache", str(cache), *always, *options])


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_the_raw_folder_is_never_the_cache(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    raw = tmp_path / "kits19"
    _phantom(raw, 1, 0)
    before = sorted(raw.rglob("*"))
    assert _preprocess(raw, tmp_path, *options) == 2
    assert "Choose another --cache" in capsys.readouterr().err
    assert sorted(raw.rglob("*")) == before


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_a_strangers_folder_is_never_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    _phantom(tmp_path / "raw", 1, 0)
    stranger = tmp_path / "cache" / "kits19" / "dataset.json"
    stranger.parent.mkdir(parents=True)
    stranger.write_text('{"labels": {}}')
    assert _preprocess(tmp_path / "raw", tmp_path / "cache", *options) == 2
    assert "is not of a mednext cache" in capsys.readouterr().err
    assert stranger.read_text() == '{"labels": {}}'


def test_other_raw_data_of_the_same_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, cache = tmp_path / "one", tmp_path / "other", tmp_path / "cache"
    _phantom(one, 3, 0)
    _phantom(other, 1, 7)
    assert _preprocess(one, cache) == 0
    assert _preprocess(other, cache) == 2
    assert f"holds the cases of {one}" in capsys.readouterr().err
    assert len(list((cache / "kits19").glob("case_*.h5"))) == 3
    moved = tmp_path / "moved"
    one.rename(moved)
    assert _preprocess(moved, cache) == 0
    assert _preprocess(other, cache, "--force") == 0
    assert len(list((cache / "kits19").glob("case_*.h5"))) == 1


@pytest.mark.parametrize("when", ["checking", "preparing"])
def test_no_empty_cache_stays_behind(
    tmp_path: Path, when: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path)
    if when == "checking":
        for number in range(3):
            image_of(raw, f"case_{number}").write_bytes(b"no scan")
    else:

        def refuse(task: object, **_: object) -> None:
            raise ScanError(f"{task} is bad")

        monkeypatch.setattr(run_module, "store_case", refuse)
    assert run(raw) == 2
    assert not (tmp_path / "cache").exists()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: 3 of 3 cases failed: case_0, case_1, case_2.")
    assert "others are done" not in error
    kept = tmp_path / "cache" / raw.name / "splits.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("[]")
    assert run(raw) == 2
    assert kept.is_file()


def test_the_next_command_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = make_raw(tmp_path)
    assert run(raw) == 0
    expected = f"next: mednext train {raw.name} --cache {tmp_path / 'cache'}"
    assert expected in capsys.readouterr().err.splitlines()
