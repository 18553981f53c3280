"""Graphs that engines keep: made once, whole or made anew, and no more than there is room for."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mednext_cli.inference import kept_graphs
from mednext_cli.inference.kept_graphs import kept_path, open_or_make
from mednext_cli.inference.models import load_models
from tests.inference.synthetic import save_model

CONTENT = b"a graph"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mednext"


@pytest.fixture
def made() -> list[int]:
    """An entry for each graph that is made."""
    return []


@pytest.fixture
def make(made: list[int]) -> Callable[[], bytes]:
    def make() -> bytes:
        made.append(1)
        return CONTENT

    return make


def read(content: bytes) -> str:
    return content.decode()


def test_each_network_and_setting_has_its_own(
    model: Path, tmp_path: Path, make: Callable[[], bytes], made: list[int]
) -> None:
    [one] = load_models([model])
    [other] = load_models([save_model(tmp_path / "other.pt", 1)])
    for checkpoint, shape in (
        (one.checkpoint, (1, 2)),
        (other.checkpoint, (1, 2)),
        (one.checkpoint, (2, 1)),
        (one.checkpoint, (1, 2)),
    ):
        path = kept_path("mine", checkpoint, {"shape": shape})
        assert open_or_make(path, make, read) == "a graph"
    assert len(made) == 3


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "empty"])
def test_a_damaged_one_is_made_anew(
    damage: str,
    cache: Path,
    make: Callable[[], bytes],
    made: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = cache / "mine" / "one" / "graph.sealed"
    open_or_make(path, make, read)
    whole = path.read_bytes()
    changed = {
        "cut": whole[:-1],
        "changed": b"A" + whole[1:],
        "longer": whole + b"x",
        "empty": b"",
    }
    path.write_bytes(changed[damage])
    assert open_or_make(path, make, read) == "a graph"
    assert "is damaged: it is made anew" in caplog.text
    assert len(made) == 2
    assert path.read_bytes() == whole


def test_one_that_the_runtime_refuses_is_made_anew(
    cache: Path, make: Callable[[], bytes], made: list[int]
) -> None:
    """Whole, but of something else, as another version may have left it."""
    path = cache / "mine" / "one" / "graph.sealed"
    open_or_make(path, lambda: b"\xff", bytes)
    assert open_or_make(path, make, read) == "a graph"
    assert len(made) == 1


def test_it_works_without_a_place_to_keep_it(
    cache: Path, make: Callable[[], bytes], made: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    path = cache / "mine" / "one" / "graph.sealed"
    for _ in range(2):
        assert open_or_make(path, make, read) == "a graph"
    assert len(made) == 2
    assert "the graph is not kept" in caplog.text


def test_a_failure_leaves_nothing(cache: Path) -> None:
    path = cache / "mine" / "one" / "graph.sealed"

    def fail() -> bytes:
        raise ValueError("it cannot be converted")

    with pytest.raises(ValueError, match="cannot be converted"):
        open_or_make(path, fail, read)
    assert not path.exists()


def test_what_was_not_used_for_longest_goes(
    cache: Path, make: Callable[[], bytes], made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [cache / "mine" / name / "graph.sealed" for name in ("a", "b", "c")]
    for age, path in zip((300, 200, 100), paths, strict=True):
        open_or_make(path, make, read)
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    open_or_make(paths[0], make, read)  # the oldest, but used just now
    assert len(made) == 3
    monkeypatch.setattr(kept_graphs, "_MOST_BYTES", 3 * paths[0].stat().st_size)
    newest = cache / "mine" / "d" / "graph.sealed"
    open_or_make(newest, make, read)
    assert sorted(path.name for path in (cache / "mine").iterdir()) == ["a", "c", "d"]
    monkeypatch.setattr(kept_graphs, "_MOST_BYTES", 1)
    open_or_make(cache / "mine" / "e" / "graph.sealed", make, read)
    assert [path.name for path in (cache / "mine").iterdir()] == ["e"]


def _open_slowly(path: Path, log: Path, both: Callable[[], int]) -> None:
    def make() -> bytes:
        with log.open("a") as stream:
            stream.write("made\n")
        return CONTENT

    both()
    assert open_or_make(path, make, read) == "a graph"


@pytest.mark.slow
def test_of_two_processes_one_makes_it(cache: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both, log = context.Barrier(2), tmp_path / "log"
    path = cache / "mine" / "one" / "graph.sealed"
    processes = [
        context.Process(target=_open_slowly, args=(path, log, both.wait)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert log.read_text() == "made\n"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
