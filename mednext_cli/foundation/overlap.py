"""Work that this process alone can do, item by item; threads read ahead of it and write behind."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from mednext_cli.foundation.outcomes import Outcome, attempt

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")


def _nothing() -> None:
    """Of stages that nothing else makes: there is nothing to stop."""


@dataclass(frozen=True)
class Stages(Generic[Item, Read, Made]):
    """The work on an item, in three parts.

    Attributes:
        read: what comes before, in a thread.
        make: what this process alone can do, in the thread of the caller, or of makers.
        write: what comes after, in a thread.
        stop: lets what makers still make end at once, since nobody will have it.
    """

    read: Callable[[Item], Read]
    make: Callable[[Item, Read], Made]
    write: Callable[[Made], None]
    stop: Callable[[], None] = _nothing

    def in_turn(self, item: Item) -> None:
        """All three, one after the other."""
        self.write(self.make(item, self.read(item)))


def run_overlapped(
    stages: Stages[Item, Read, Made],
    items: Iterable[Item],
    name: Callable[[Item], str],
    workers: int,
    fewer: str = "",
    makers: int = 1,
) -> Iterator[Outcome[None]]:
    """Put every item through the stages and yield what became of each, as it is known.

    `workers.run_over` is for work that any process can do. This is for work with what only this
    one holds, such as a network on an accelerator: that stays here, and files keep up with it.
    Outcomes are the same. Memory holds `workers` items before, `makers` in and `workers` after
    `make`.

    Args:
        stages: the work.
        items: an item is asked for when it can be read, so they may be claimed one by one.
        name: the case id of an item, for messages.
        workers: threads that read, and as many that write; 0 does all in turn.
        fewer: the option that does all in turn, for messages; empty where there is none.
        makers: items that are made side by side; of several each has a thread.

    Raises:
        StorageError: the disk refuses; it would refuse the others, too.
    """
    if workers == 0:
        for item in items:
            yield attempt(name(item), partial(stages.in_turn, item))
        return
    with (
        ThreadPoolExecutor(workers) as readers,
        ThreadPoolExecutor(workers) as writers,
        _Makers(makers) as threads,
    ):
        overlap = _Overlap(stages, name, fewer, readers, writers, threads)
        yield from overlap.run(iter(items), workers)


class OneBehind:
    """Does work in a thread while the caller makes what the next is of; one piece at a time.

    Args:
        threaded: else it is done at once, in the caller's.
    """

    def __init__(self, *, threaded: bool) -> None:
        self._thread = ThreadPoolExecutor(1) if threaded else None
        self._last: Future[None] | None = None

    def __enter__(self) -> "OneBehind":
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def do(self, work: Callable[[], None]) -> None:
        """Begin once what was begun before is over; raises what that raised."""
        self.wait()
        if self._thread is None:
            work()
        else:
            self._last = self._thread.submit(work)

    def wait(self) -> None:
        """Until all is over; raises what it raised."""
        last, self._last = self._last, None
        if last is not None:
            last.result()


class _Makers:
    """Where items are made: in the caller's thread as they are asked for, or in several."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(count) if count > 1 else None

    def __enter__(self) -> "_Makers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def begin(self, make: Callable[[], Made]) -> Callable[[], Made]:
        """What waits until it is made."""
        return make if self._threads is None else self._threads.submit(make).result


@dataclass
class _Overlap(Generic[Item, Read, Made]):
    """What is being read, made and written, in the order of the items."""

    stages: Stages[Item, Read, Made]
    name: Callable[[Item], str]
    fewer: str
    readers: ThreadPoolExecutor
    writers: ThreadPoolExecutor
    makers: _Makers
    reading: deque[tuple[Item, Future[Read]]] = field(default_factory=deque)
    making: deque[tuple[str, Callable[[], Made]]] = field(default_factory=deque)
    writing: deque[tuple[str, Future[None]]] = field(default_factory=deque)

    def run(self, items: Iterator[Item], most: int) -> Iterator[Outcome[None]]:
        try:
            self._begin_reading(islice(items, most))
            while self.reading or self.making:
                while self.reading and len(self.making) < self.makers.count:
                    self._begin_making(items)
                name, make = self.making.popleft()
                outcome = attempt(name, partial(self._made, name, make), self.fewer)
                del make  # else it holds this item's data while the next is worked on
                if outcome.error is not None:
                    yield outcome
                while len(self.writing) > most:
                    yield self._written()
            while self.writing:
                yield self._written()
        except BaseException:
            for _, waiting in self.reading:  # what is being written is finished
                waiting.cancel()
            self.stages.stop()
            raise

    def _begin_reading(self, items: Iterator[Item]) -> None:
        for item in items:
            self.reading.append((item, self.readers.submit(self.stages.read, item)))

    def _begin_making(self, items: Iterator[Item]) -> None:
        item, read = self.reading.popleft()
        self._begin_reading(islice(items, 1))
        make = self.makers.begin(partial(self._make, item, [read]))
        self.making.append((self.name(item), make))

    def _make(self, item: Item, read: "list[Future[Read]]") -> Made:
        """Of what is read, which nothing else is to hold meanwhile."""
        return self.stages.make(item, read.pop().result())

    def _made(self, name: str, make: Callable[[], Made]) -> None:
        self.writing.append((name, self.writers.submit(self.stages.write, make())))

    def _written(self) -> Outcome[None]:
        name, writing = self.writing.popleft()
        return attempt(name, writing.result, self.fewer)
