import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mednext_cli.foundation.errors import DatasetError, StorageError
from mednext_cli.foundation.files import (
    check_writable,
    hash_file,
    make_folder,
    read_json,
    replacing,
    write_csv,
    write_json,
    write_text,
)
from mednext_cli.foundation.leftovers import remove_leftovers


def test_replacing_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.txt"
    for text in ("old", "new"):
        write_text(path, text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_temporary_name_keeps_the_suffix_and_is_hidden(tmp_path: Path) -> None:
    with replacing(tmp_path / "scan.nii.gz") as beside:
        assert beside.parent == tmp_path
        assert beside.name.startswith(".")
        assert beside.name.endswith(".nii.gz")
        beside.write_text("x")


def test_a_name_as_long_as_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / f"{'ä' * 120}a.nii.gz"
    write_text(path, "x")
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_run_left_is_removed_but_not_what_another_writes(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from mednext_cli.foundation.files import replacing
with replacing(Path(sys.argv[1])) as beside:
    beside.write_text("half")
    os.kill(os.getpid(), 9)
"""
    path = tmp_path / "labels.nii.gz"
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    (left,) = tmp_path.iterdir()
    process, machine, random, rest = re.fullmatch(r".(\d+)-(\w+)-(\w+).(.*)", left.name).groups()
    other = tmp_path / f".{process}-{'0' * 6}-{random}.{rest}"  # another machine's, at work
    old = tmp_path / f".{process}-{'1' * 6}-{random}.{rest}"
    running = tmp_path / f".{os.getppid()}-{machine}-{random}.{rest}"
    for one in (other, old, running):
        one.write_text("half")
    os.utime(old, (0, 0))
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, other, running])
    remove_leftovers(tmp_path, alone=True)
    assert list(tmp_path.iterdir()) == [path]
    remove_leftovers(tmp_path / "nowhere")


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as beside:
            beside.write_text("half")
            raise ValueError("broke off")

    with pytest.raises(ValueError, match="broke off"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, "Free some space"), (errno.EROFS, "not read-only"), (errno.EIO, "Check")],
)
def test_refusing_disk_is_a_storage_error(tmp_path: Path, number: int, remedy: str) -> None:
    path = tmp_path / "file.bin"
    write_text(path, "old")

    def fail() -> None:
        with replacing(path) as beside:
            beside.write_text("half")
            raise OSError(number, "a library's own long text\nover two lines")

    with pytest.raises(StorageError, match=remedy) as caught:
        fail()
    assert str(path) in str(caught.value)
    assert "library" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


def test_really_full_device(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")

    def fill() -> None:
        with replacing(tmp_path / "file.bin"):
            full.write_text("x")

    with pytest.raises(StorageError, match=r"no space left.*Free some space"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        make_folder(tmp_path / "file" / "below")


def test_json_goes_round(tmp_path: Path) -> None:
    path = tmp_path / "é.json"
    write_json(path, {"Größe": [1, 2.5, None]})
    assert read_json(path) == {"Größe": [1, 2.5, None]}
    assert "Größe" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b""])
def test_broken_json(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"broken\.json is not valid JSON"):
        read_json(path)


def test_json_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "windows.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, ("a", "b"), [(1, None), ("x, y", 2.5)])
    assert path.read_text() == 'a,b\n1,\n"x, y",2.5\n'


def test_hash(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert hash_file(tmp_path / "abc").startswith("ba7816bf8f01cfea")


def test_a_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match=folder.name):
            check_writable(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_takes_no_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    for method in ("touch", "mkdir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, refuse)
            with pytest.raises(StorageError, match="out cannot be written: read-only file system"):
                check_writable(tmp_path / "out")
    assert not list(tmp_path.iterdir())
