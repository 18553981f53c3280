"""Run work over many cases in worker processes that may die without taking the run along."""

import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.progress import track

Item = TypeVar("Item")
Value = TypeVar("Value")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of one item: a value, or one line that says why not."""

    name: str
    value: Value | None = None
    error: str | None = None


def run_over(
    work: Callable[[Item], Value],
    items: Sequence[Item],
    name: Callable[[Item], str],
    workers: int,
    description: str,
) -> Generator[Outcome[Value], None, None]:
    """Do `work` for every item and yield outcomes as they come, with progress.

    A user's error in one item becomes the outcome's `error`; so does a worker that dies (killed
    for its memory, say), and the others go on. Nothing hangs: a dead worker is noticed at once.

    Args:
        work: a module-level function, or a partial of one.
        items: what to work on.
        name: the case id of an item, for messages.
        workers: processes; 0 works in this one.
        description: shown beside the progress bar.
    """
    outcomes = (
        _in_process(work, items, name) if workers == 0 else _pooled(work, items, name, workers)
    )
    with track(description, len(items)) as progress:
        for outcome in outcomes:
            progress.advance(note=outcome.name)
            if outcome.error is not None:
                logger.warning("%s: %s", outcome.name, outcome.error)
            yield outcome


def _in_process(
    work: Callable[[Item], Value], items: Sequence[Item], name: Callable[[Item], str]
) -> Iterator[Outcome[Value]]:
    for item in items:
        try:
            yield Outcome(name(item), value=work(item))
        except MednextError as error:
            yield Outcome(name(item), error=str(error))
        except MemoryError:
            yield Outcome(name(item), error=_explain(MemoryError()))


def _pooled(
    work: Callable[[Item], Value], items: Sequence[Item], name: Callable[[Item], str], workers: int
) -> Iterator[Outcome[Value]]:
    from pebble import ProcessPool

    pool = ProcessPool(max_workers=workers, initializer=_begin_worker, context=get_context("spawn"))
    try:
        waiting: dict[Future[Value], str] = {
            pool.schedule(work, args=(item,)): name(item) for item in items
        }
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield _outcome(waiting.pop(future), future)
        pool.close()  # type: ignore[no-untyped-call]
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


def _begin_worker() -> None:
    """Ctrl-C is the parent's business; one thread a worker, since there is a worker a core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def _outcome(name: str, future: "Future[Value]") -> Outcome[Value]:
    error = future.exception()
    if error is None:
        return Outcome(name, value=future.result())
    if isinstance(error, MednextError):
        return Outcome(name, error=str(error))
    explained = _explain(error)
    if explained:
        return Outcome(name, error=explained)
    raise error


def _explain(error: BaseException) -> str:
    """One line for the ends of a worker that are the machine's or the user's doing, else ''."""
    from pebble import ProcessExpired

    if isinstance(error, MemoryError):
        return "not enough memory for this case. Use fewer workers (--workers 1) or more memory."
    if not isinstance(error, ProcessExpired):
        return ""
    code: Any = error.exitcode
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return (
            "the worker was killed, most likely for its memory. "
            "Run the same command again with --workers 1."
        )
    return f"the worker died with exit code {code}. Run again with --workers 0 to see why."
