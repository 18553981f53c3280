import errno
import logging
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from mednext_cli.foundation.errors import FailedCases, MednextError, ScanError, StorageError
from mednext_cli.foundation.files import storage_error
from mednext_cli.foundation.machine import count_workers, free_memory_bytes, usable_cores
from mednext_cli.foundation.outcomes import Outcome, failed_cases, raise_failures
from mednext_cli.foundation.workers import RunSettings, run_over

ITEMS = list(range(5))


def _square(item: int) -> int:
    return item * item


def _refuse_two(item: int) -> int:
    if item == 2:
        raise ScanError(f"{item} is damaged", "Copy it again.")
    return item


def _out_of_memory(item: int) -> int:
    if item == 1:
        raise MemoryError
    return item


def _disk_refuses(number: int, item: int) -> int:
    if item == 1:
        raise storage_error(Path("x"), OSError(number, ""))
    return item


def _die(how: int, item: int) -> int:
    """Item 3 takes its process along: by a signal, or by leaving (0)."""
    if item == 3:
        if how:
            os.kill(os.getpid(), how)
        os._exit(17)
    return item


def _bug(item: int) -> int:
    if item == 0:
        raise ZeroDivisionError("ours")
    time.sleep(0.05)
    return item


def _threads(item: int) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def _warn(item: int) -> int:
    logging.getLogger("mednext_cli.tests").warning("%d is odd", item)
    return item


def _run(work: object, workers: int) -> dict[str, Outcome[int]]:
    outcomes = run_over(work, ITEMS, str, RunSettings(workers), "testing")  # type: ignore[arg-type]
    return {outcome.name: outcome for outcome in outcomes}


@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_is_done(workers: int) -> None:
    outcomes = _run(_square, workers)
    assert {name: one.value for name, one in outcomes.items()} == {
        str(item): item * item for item in ITEMS
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_users_error_in_one_item_leaves_the_others(workers: int) -> None:
    outcomes = _run(_refuse_two, workers)
    assert outcomes["2"].error == "2 is damaged. Copy it again."
    assert not outcomes["2"].ours
    error = failed_cases(outcomes.values(), 5, "Look.", "The others are done.")
    assert (error.reasons, error.exit_code) == ({"2": "2 is damaged. Copy it again."}, 2)
    assert {name for name, one in outcomes.items() if one.error is None} == {"0", "1", "3", "4"}


@pytest.mark.parametrize("workers", [0, 1])
def test_lack_of_memory_is_explained(workers: int) -> None:
    outcomes = _run(_out_of_memory, workers)
    assert "not enough memory" in (outcomes["1"].error or "")
    assert sum(one.error is None for one in outcomes.values()) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_ends_it_all_and_a_name_too_long_fails_alone(workers: int) -> None:
    outcomes = _run(partial(_disk_refuses, errno.ENAMETOOLONG), workers)
    assert [name for name, one in outcomes.items() if one.error is not None] == ["1"]
    with pytest.raises(StorageError, match="no space left"):
        _run(partial(_disk_refuses, errno.ENOSPC), workers)


@pytest.mark.parametrize(
    ("how", "says"),
    [(signal.SIGKILL, "killed, most likely for its memory"), (0, "died with exit code 17"),
     (signal.SIGSEGV, "died with exit code")],
)  # fmt: skip
def test_dead_worker_is_named_and_the_others_are_done(how: int, says: str) -> None:
    outcomes = _run(partial(_die, how), 2)
    assert says in (outcomes["3"].error or "")
    assert sorted(name for name, one in outcomes.items() if one.error is None) == list("0124")


class _DeadlyToHandOver:
    """A result whose pickling takes the worker along, with the lock that handing over needs."""

    def __reduce__(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""


def _hand_over(item: int) -> object:
    time.sleep(0.05)
    return _DeadlyToHandOver() if item in (3, 9) else item


@pytest.mark.slow
def test_a_worker_that_dies_handing_over_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mednext_cli.foundation.beginning._SECONDS_TO_HAND_OVER", 1.0)
    outcomes = list(run_over(_hand_over, list(range(12)), str, RunSettings(2), "testing"))
    assert sorted(one.name for one in outcomes) == sorted(map(str, range(12)))
    failed = {one.name: one.error or "" for one in outcomes if one.error is not None}
    assert sorted(failed) == ["3", "9"]
    assert all("killed, most likely for its memory" in said for said in failed.values())


def test_workers_that_die_once_while_they_begin_cost_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = f"""
import os, sys
if "--multiprocessing-fork" in sys.orig_argv:
    try:
        os.mkdir({str(tmp_path / "first")!r})
    except FileExistsError:
        pass
    else:
        os._exit(1)
"""
    (tmp_path / "sitecustomize.py").write_text(dying)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert all(one.error is None for one in _run(_square, 2).values())


@pytest.mark.parametrize("workers", [0, 1])
def test_our_bug_in_one_item_leaves_the_others(workers: int) -> None:
    outcomes = _run(_bug, workers)
    assert "ZeroDivisionError: ours. This is a fault of ours" in (outcomes["0"].error or "")
    assert [one.name for one in outcomes.values() if one.ours] == ["0"]
    assert failed_cases(outcomes.values(), 5, "Look.").exit_code == 1
    assert sum(one.error is None for one in outcomes.values()) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "hint"), [(1, False), (2, True)])
def test_fewer_workers_are_advised_only_where_there_are_several(workers: int, hint: bool) -> None:
    for work, item in ((_out_of_memory, "1"), (partial(_die, signal.SIGKILL), "3")):
        assert ("--workers 1" in (_run(work, workers)[item].error or "")) == hint


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.2])
@pytest.mark.parametrize("items", [1, 3, 200])
def test_workers_that_die_while_they_begin_end_the_run(
    seconds: float, items: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = f"""
import os, sys, time
if "--multiprocessing-fork" in sys.orig_argv:
    time.sleep({seconds})
    os._exit(1)
"""
    (tmp_path / "sitecustomize.py").write_text(dying)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(MednextError, match=r"as soon as they start .*--workers 0"):
        list(run_over(_square, list(range(items)), str, RunSettings(2), "testing"))


def test_workers_that_cannot_be_started_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", refuse)
    with pytest.raises(MednextError, match=r"no more processes.*--workers 0"):
        list(run_over(_square, list(range(9)), str, RunSettings(2), "testing"))


def test_leaving_early_stops_the_workers() -> None:
    outcomes = run_over(_square, ITEMS, str, RunSettings(1), "testing")
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]


def test_nothing_to_do() -> None:
    assert list(run_over(_square, [], str, RunSettings(2), "testing")) == []


def test_workers_use_one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (outcome,) = run_over(_threads, [0], str, RunSettings(1), "testing")
    assert outcome.value == "1"


def test_number_of_workers() -> None:
    assert count_workers(3, 1, items=10) == 3
    assert count_workers(3, 1, items=2) == 2
    assert count_workers(0, 1, items=2) == 0
    assert count_workers(None, 1, items=1) == 1
    assert count_workers(None, 1, items=10_000) == usable_cores()
    assert count_workers(None, free_memory_bytes(), items=10) == 1


def test_warnings_of_workers_look_like_the_parents(capfd: pytest.CaptureFixture[str]) -> None:
    _run(_warn, 2)
    lines = capfd.readouterr().err.splitlines()
    said = sorted(line for line in lines if "is odd" in line)
    assert said == [f"warning: {item} is odd" for item in ITEMS]


def test_a_run_that_ends_while_its_workers_begin_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        time.sleep(0.1)  # the pool's threads start the workers
        raise KeyboardInterrupt

    monkeypatch.setattr("mednext_cli.foundation.workers.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _run(_square, 2)
    assert "Traceback" not in capfd.readouterr().err


def test_settings_count_processes_by_the_item_that_needs_the_most() -> None:
    free = free_memory_bytes()
    assert RunSettings[int](bytes_of=lambda item: item * free).count([0, 1]) == 1
    assert RunSettings[int](bytes_of=lambda _: 1).count(range(10_000)) == usable_cores()
    assert RunSettings[int]().count([1]) == 1

    def unasked(item: int) -> int:
        raise AssertionError(f"{item} was looked at")

    assert RunSettings(workers=3, bytes_of=unasked).count([1, 2]) == 2
    assert RunSettings(workers=0, bytes_of=unasked).count([1, 2]) == 0


def test_failures_are_raised_only_where_there_are_any() -> None:
    done = Outcome("a", value=1)
    raise_failures([done], 2, "Look.")
    with pytest.raises(FailedCases, match="1 of 2 cases failed: b"):
        raise_failures([done, Outcome("b", error="dark")], 2, "Look.", "The other is done.")
