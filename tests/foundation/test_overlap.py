"""Reading ahead and writing behind: every item has one outcome, whatever fails, and in bounds."""

import errno
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mednext_cli.foundation.errors import ScanError, StorageError
from mednext_cli.foundation.files import storage_error
from mednext_cli.foundation.outcomes import Outcome
from mednext_cli.foundation.overlap import OneBehind, Stages, run_overlapped

ITEMS = list(range(6))
WORKERS = [0, 1, 2]


def _run(stages: Stages[int, int, int], workers: int) -> dict[str, Outcome[None]]:
    outcomes = list(run_overlapped(stages, ITEMS, str, workers, "--workers 0"))
    assert sorted(outcome.name for outcome in outcomes) == sorted(map(str, ITEMS))
    return {outcome.name: outcome for outcome in outcomes}


def _add(item: int, read: int) -> int:
    return item + read


def void(_: object) -> None:
    """A stage that keeps nothing."""


def _unless(item: int, error: BaseException) -> Callable[[int], int]:
    """What a stage does: tenfold, but for one item or what was made of it."""

    def work(number: int) -> int:
        if number == item:
            raise error
        return number * 10

    return work


@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_read_is_worked_on_in_order_and_written(workers: int) -> None:
    order: list[int] = []
    written: list[int] = []

    def make(item: int, read: int) -> int:
        order.append(item)
        return item + read

    outcomes = _run(Stages(lambda item: item * 10, make, written.append), workers)
    assert order == ITEMS
    assert sorted(written) == [item * 11 for item in ITEMS]
    assert all(outcome.error is None for outcome in outcomes.values())


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ScanError("it is damaged", "Copy it again."), "it is damaged. Copy it again."),
        (
            storage_error(Path("x"), OSError(errno.EISDIR, "")),
            "x cannot be written: is a directory",
        ),
        (ZeroDivisionError("ours"), "ZeroDivisionError: ours. This is a fault of ours"),
        (MemoryError(), "not enough memory for this case."),
    ],
)
def test_what_fails_in_any_stage_fails_alone(
    workers: int, error: Exception, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    reads = Stages(_unless(3, error), _add, void)
    makes = Stages(lambda item: item, lambda item, _: _unless(3, error)(item), void)
    writes = Stages(lambda item: 0, _add, lambda made: void(_unless(3, error)(made)))
    for stages in (reads, makes, writes):
        caplog.clear()
        outcomes = _run(stages, workers)
        assert [name for name, outcome in outcomes.items() if outcome.error] == ["3"]
        assert text in (outcomes["3"].error or "")
        assert outcomes["3"].ours == isinstance(error, ZeroDivisionError)
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


@pytest.mark.parametrize(
    ("workers", "remedy"), [(0, "Use more"), (1, "fewer workers (--workers 0)")]
)
def test_too_little_memory_names_the_option_that_helps(workers: int, remedy: str) -> None:
    outcomes = _run(Stages(_unless(3, MemoryError()), _add, void), workers)
    assert remedy in (outcomes["3"].error or "")


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("stage", ["read", "write"])
def test_a_full_disk_ends_it_all(workers: int, stage: str) -> None:
    refuse = _unless(2, storage_error(Path("x"), OSError(errno.ENOSPC, "")))
    if stage == "read":
        stages = Stages(refuse, _add, void)
    else:
        stages = Stages(lambda _: 0, _add, lambda made: void(refuse(made)))
    with pytest.raises(StorageError, match="no space left"):
        list(run_overlapped(stages, ITEMS, str, workers))


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_asked_for_when_they_can_be_read(workers: int) -> None:
    asked: list[int] = []
    most: list[int] = []

    def items() -> Iterator[int]:
        for item in ITEMS:
            asked.append(item)
            yield item

    def make(item: int, read: int) -> int:
        most.append(len(asked) - item)
        return item

    list(run_overlapped(Stages(lambda item: item, make, void), items(), str, workers))
    assert max(most) == workers + 1  # the one at work, and those before it


def test_the_next_is_read_while_one_is_worked_on_and_another_written() -> None:
    meet = threading.Barrier(3, timeout=10)

    def read(item: int) -> int:
        if item == 2:
            meet.wait()
        return item

    def make(item: int, read: int) -> int:
        if item == 1:
            meet.wait()
        return item

    def write(made: int) -> None:
        if made == 0:
            meet.wait()

    outcomes = _run(Stages(read, make, write), 1)
    assert all(outcome.error is None for outcome in outcomes.values())


def test_what_waits_is_not_read_when_it_is_interrupted() -> None:
    read: list[int] = []

    def make(item: int, number: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_overlapped(Stages(read.append, make, void), ITEMS, str, 1))
    assert len(read) <= 2


def test_several_makers_work_side_by_side_and_keep_the_order() -> None:
    meet = threading.Barrier(3, timeout=10)
    written: list[int] = []

    def make(item: int, read: int) -> int:
        meet.wait()
        return item + read

    stages = Stages(lambda item: item * 10, make, written.append)
    outcomes = list(run_overlapped(stages, ITEMS, str, 1, makers=3))
    assert [one.name for one in outcomes if one.error is None] == list(map(str, ITEMS))
    assert written == [item * 11 for item in ITEMS]


def test_what_fails_beside_others_fails_alone() -> None:
    error = ScanError("it is damaged", "Copy it again.")
    stages = Stages(lambda item: item, lambda item, _: _unless(3, error)(item), void)
    outcomes = {one.name: one.error for one in run_overlapped(stages, ITEMS, str, 1, makers=2)}
    assert sorted(outcomes) == sorted(map(str, ITEMS))
    assert [name for name, said in outcomes.items() if said] == ["3"]


@pytest.mark.parametrize("makers", [1, 2])
def test_what_is_read_is_held_by_nobody_once_it_is_made(makers: int) -> None:
    class Scan:
        """What can be watched."""

    seen: dict[int, weakref.ref[Scan]] = {}
    alive: list[int] = []

    def read(item: int) -> Scan:
        scan = Scan()
        seen[item] = weakref.ref(scan)
        return scan

    def make(item: int, scan: Scan) -> int:
        del scan
        alive.append(sum(one() is not None for number, one in seen.items() if number < item - 1))
        return item

    list(run_overlapped(Stages(read, make, void), ITEMS, str, 1, makers=makers))
    assert max(alive) == 0


@pytest.mark.parametrize("makers", [2, 3])
def test_an_interruption_ends_what_others_make_and_begins_no_more(makers: int) -> None:
    begun: list[int] = []

    def make(item: int, number: int) -> int:
        begun.append(item)
        if item == 0:
            raise KeyboardInterrupt
        return item

    stages = Stages(lambda item: item, make, void)
    with pytest.raises(KeyboardInterrupt):
        list(run_overlapped(stages, range(50), str, 1, makers=makers))
    assert len(begun) <= makers + 1
    assert threading.active_count() < 10


def test_an_interruption_stops_what_others_make() -> None:
    stopped, begun = threading.Event(), threading.Event()

    def make(item: int, number: int) -> int:
        if item == 0:
            assert begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        assert stopped.wait(10)
        return item

    stages = Stages(lambda item: item, make, void, stopped.set)
    with pytest.raises(KeyboardInterrupt):
        list(run_overlapped(stages, ITEMS, str, 1, makers=2))
    assert stopped.is_set()


@pytest.mark.parametrize("threaded", [False, True])
def test_work_one_behind_is_done_in_order_and_its_errors_are_raised(threaded: bool) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        if number == 3:
            raise ValueError(number)
        done.append(number)

    def all_of_it() -> None:
        with OneBehind(threaded=threaded) as behind:
            for number in range(4):
                behind.do(partial(work, number))
            behind.wait()

    with pytest.raises(ValueError, match="3"):
        all_of_it()
    assert done == [0, 1, 2]


def test_work_one_behind_holds_nothing_once_it_is_done() -> None:
    class Block:
        """What can be watched."""

    with OneBehind(threaded=True) as behind:
        block = Block()
        watched = weakref.ref(block)
        behind.do(partial(id, block))
        del block
        behind.do(partial(id, None))
        behind.wait()
        behind.do(partial(id, None))
        behind.wait()
        assert watched() is None
