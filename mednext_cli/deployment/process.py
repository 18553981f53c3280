"""A process that measures one configuration and nothing else, held to so many cores.

The functions that run in it import what is heavy only after the number of threads is set.
"""

import contextlib
import logging
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Literal

from mednext_cli.deployment.task import Task
from mednext_cli.foundation.children import begin_child, starting_children

if TYPE_CHECKING:
    from mednext_cli.deployment.measurement import Failure, Measurement

OnTiles = Callable[[Literal["tiles", "done"], int], None]
_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_KILLED = (-9, 128 + 9)  # SIGKILL, as the system does where memory ends


def measure_apart(task: Task, on_tiles: OnTiles) -> "Measurement | Failure":
    """Measure in a fresh process; whatever becomes of it is an answer.

    Args:
        task: what to measure.
        on_tiles: told how many "tiles" the prediction has, and how many more are "done".
    """
    return _ask(_measure, task, on_tiles)  # type: ignore[return-value]


def time_tile_apart(task: Task) -> "float | Failure":
    """Seconds for each voxel of a small tile, in a fresh process."""
    return _ask(_time_tile, task, lambda kind, count: None)  # type: ignore[return-value]


def _ask(work: Callable[..., object], task: Task, on_tiles: OnTiles) -> object:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_begin, args=(work, task, time.time(), sender), daemon=True)
    with starting_children():
        process.start()
    sender.close()  # else nobody notices that the process is gone
    try:
        return _listen(receiver, on_tiles)
    except EOFError:
        process.join()
        return _explain(process.exitcode)
    finally:
        process.kill()
        process.join()
        receiver.close()


def _listen(receiver: Connection, on_tiles: OnTiles) -> object:
    """What the process says in the end."""
    while True:
        kind, value = receiver.recv()
        if kind == "result":
            return value
        on_tiles(kind, value)


def _explain(code: int | None) -> "Failure":
    from mednext_cli.deployment.measurement import Failure

    if code in _KILLED:
        return Failure(problem="killed, most likely for its memory")
    return Failure(problem=f"the process died with exit code {code}")


def _begin(work: Callable[..., object], task: Task, started: float, sender: Connection) -> None:
    begin_child()
    _hold_to(task.threads)
    logging.getLogger("mednext_cli").setLevel(logging.CRITICAL)  # the reason is sent instead
    sender.send(("result", work(task, started, sender.send)))


def _measure(task: Task, started: float, send: Callable[[object], None]) -> object:
    from mednext_cli.deployment.worker import measure

    return measure(task, started, send)


def _time_tile(task: Task, started: float, send: Callable[[object], None]) -> object:
    from mednext_cli.deployment.probe import time_tile

    del started, send
    return time_tile(task)


def _hold_to(threads: int) -> None:
    """Let this process use so many cores, as if the machine had no more."""
    for name in _VARIABLES:
        os.environ[name] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # some containers forbid it
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
