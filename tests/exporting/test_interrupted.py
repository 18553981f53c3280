"""Exports that are killed at any stage: the next one gives the same, and nothing is left over."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.exporting.folders import replacing_folder
from mednext_cli.foundation.files import write_text
from tests.exporting.small import save_small

_CHANGING = {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}
_WRITING = os.O_WRONLY | os.O_RDWR

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def killed_at_each_stage(work: Callable[[], object], folder: Path) -> Iterator[int]:
    """Do the work in children that are killed before their first, second, ... change below a
    folder, until one comes to its end; yield after each that was killed.
    """
    for stage in range(1000):
        status = status_of_child(stage, work, folder)
        if not os.WIFSIGNALED(status):
            assert os.WEXITSTATUS(status) == 0
            return
        assert os.WTERMSIG(status) == signal.SIGKILL
        yield stage


def status_of_child(stage: int | None, work: Callable[[], object], folder: Path) -> int:
    """What became of a child that does the work, killed at a stage or never."""
    child = os.fork()
    if not child:
        _work_until(stage, work, folder)
    return os.waitpid(child, 0)[1]


def _work_until(stage: int | None, work: Callable[[], object], folder: Path) -> None:
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if (event in _CHANGING or writes) and str(arguments[0]).startswith(str(folder)):
            if seen == stage:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    torch.set_num_threads(1)
    sys.addaudithook(watch)
    failed = 1
    try:
        work()
        failed = 0
    finally:
        os._exit(failed)


def content(folder: Path) -> dict[str, bytes]:
    """All below it, hidden or not."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_is_replaced_whatever_was_killed_before(tmp_path: Path, there: bool) -> None:
    place = tmp_path / "place"

    def replace(text: str = "new") -> None:
        with replacing_folder(place / "target") as beside:
            write_text(beside / "inner" / "one.txt", text)
            write_text(beside / "two.txt", text)

    stages = 0
    for _ in killed_at_each_stage(replace, place):
        stages += 1
        found = content(place)
        texts = {value for name, value in found.items() if name.startswith("target/") and value}
        assert len(texts) <= 1  # never a mixture
        replace()
        assert set(content(place)) == {
            *("target", "target/inner", "target/inner/one.txt", "target/two.txt")
        }
        if there:
            replace("old")
        else:
            for name in ("target/inner/one.txt", "target/two.txt"):
                (place / name).unlink()
            (place / "target/inner").rmdir()
            (place / "target").rmdir()
    assert stages > 5


@pytest.mark.slow
@pytest.mark.parametrize("to", ["safetensors", "monai-bundle"])
def test_an_export_is_the_same_whatever_was_killed_before(tmp_path: Path, to: str) -> None:
    model, out = save_small(tmp_path / "one.pt"), tmp_path / "out"

    def export() -> None:
        assert main(["export", str(model), "--to", to, "--out", str(out)]) == 0

    # In a child, too: a process tidies a folder the first time that it writes there.
    assert status_of_child(None, export, out) == 0
    whole, stages = content(out), 0
    assert whole
    for _ in killed_at_each_stage(export, out):
        stages += 1
        assert status_of_child(None, export, out) == 0
        assert content(out) == whole
    assert stages >= 5
