"""The record of a folder that several processes change: what another one wrote is never missed."""

from pathlib import Path

import pytest

from mednext_cli.foundation.errors import StorageError
from mednext_cli.inference import record_file
from mednext_cli.inference.record_file import (
    RECORD_NAME,
    Entry,
    LatestRecord,
    RecordContent,
    read_record,
    write_record,
)


def _content(*names: str) -> RecordContent:
    cases = {
        name: Entry((f"/{name}.nii.gz",), "s", "c", "key", 1.5, {"seg": "0"}) for name in names
    }
    return RecordContent({"overlap": [0.5]}, {"device": "cpu"}, cases, {"again"})


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A folder for each record that is parsed."""
    calls: list[Path] = []

    def read(folder: Path) -> RecordContent:
        calls.append(folder)
        return read_record(folder)

    monkeypatch.setattr(record_file, "read_record", read)
    return calls


def test_what_nobody_changed_is_not_parsed_again(tmp_path: Path, parsed: list[Path]) -> None:
    latest = LatestRecord(tmp_path)
    assert not latest.read().exists
    latest.write(_content("a"))
    assert latest.read() == latest.read() == read_record(tmp_path)
    assert len(parsed) == 1


def test_what_another_process_wrote_is_read(tmp_path: Path) -> None:
    mine, other = LatestRecord(tmp_path), LatestRecord(tmp_path)
    mine.write(_content("a"))
    both = other.read()
    other.write(_content(*both.cases, "b"))
    assert sorted(mine.read().cases) == ["a", "b"]
    (tmp_path / RECORD_NAME).write_text("{", encoding="utf-8")
    assert mine.read().settings is None  # as of a damaged one
    (tmp_path / RECORD_NAME).unlink()
    assert mine.read() == RecordContent(exists=False)


def test_what_could_not_be_written_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = LatestRecord(tmp_path)
    latest.write(_content("a"))

    def refuse(*_: object) -> None:
        raise StorageError("the disk is full", "Free some space.")

    with monkeypatch.context() as patched:
        patched.setattr(record_file, "write_json", refuse)
        content = latest.read()
        content.cases["b"] = Entry()
        with pytest.raises(StorageError):
            latest.write(content)
    assert sorted(latest.read().cases) == ["a"]


def test_a_file_is_what_it_was(tmp_path: Path) -> None:
    """Sorted, one entry a line, and the same when read and written again."""
    write_record(tmp_path, _content("b", "a"))
    first = (tmp_path / RECORD_NAME).read_bytes()
    assert first.index(b'"a": {') < first.index(b'"b": {')
    assert b'\n   "places": [\n    "/a.nii.gz"\n   ],\n' in first
    write_record(tmp_path, read_record(tmp_path))
    assert (tmp_path / RECORD_NAME).read_bytes() == first
