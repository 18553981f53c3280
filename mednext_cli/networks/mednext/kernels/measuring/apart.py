"""A workbench in a process of its own: what crashes or hangs there harms nobody else.

Spawned, since a forked process cannot use CUDA; and it is ended by SIGKILL, since a kernel that
hangs heeds nothing less.
"""

import contextlib
import logging
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import ModuleType, TracebackType
from typing import Any, Self

from mednext_cli.foundation.children import begin_child, starting_children
from mednext_cli.foundation.devices import is_out_of_memory
from mednext_cli.networks.mednext.kernels.measuring.trials import Workbench

_STARTING_SECONDS = 600.0  # to import torch and to make the workbench, on a busy machine
# Of Triton, by name: it need not be here. They leave the device as it was.
_HARMLESS = {
    "OutOfResources": "out of resources",
    "PTXASError": "does not compile",
    "CompilationError": "does not compile",
    "UnsupportedLanguageConstruct": "does not compile",
    "CompileTimeAssertionFailure": "does not compile",
}


class RefusedError(Exception):
    """The workbench did not do it; the text says why."""


class Apart:
    """Hands requests to a workbench in another process, which is begun when it is needed.

    Args:
        make: makes the workbench, there; can be pickled.
    """

    def __init__(self, make: Callable[[], Workbench]) -> None:
        self._make = make
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, what: str, *arguments: object, seconds: float) -> Any:  # noqa: ANN401
        """What the workbench's method of this name gives.

        Args:
            what: the method.
            arguments: for it; can be pickled.
            seconds: after which the process is killed; beginning it has time of its own.

        Raises:
            RefusedError: it raised, took too long, or the process died. The next request finds a
                fresh one where this one could have been harmed.
        """
        connection = self._connection or self._begin()
        try:
            connection.send((what, arguments))
            if not connection.poll(seconds):
                self.end()
                raise RefusedError(f"took more than {seconds:.0f} s")
            answer, reason, harmed = connection.recv()
        except (EOFError, OSError) as error:
            raise RefusedError(self._died()) from error
        if harmed:
            self.end()
        if reason:
            raise RefusedError(reason)
        return answer

    def _begin(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._make, theirs), daemon=True)
        with starting_children(), _without_main():
            self._process.start()
        theirs.close()  # else nobody notices that the process is gone
        try:
            if not self._connection.poll(_STARTING_SECONDS):
                self.end()
                raise RefusedError(f"the process did not begin within {_STARTING_SECONDS:.0f} s")
            reason = self._connection.recv()
        except (EOFError, OSError) as error:
            raise RefusedError(self._died()) from error
        if reason:
            self.end()
            raise RefusedError(reason)
        return self._connection

    def _died(self) -> str:
        process = self._process
        if process is not None:
            process.join(timeout=_STARTING_SECONDS)
        code = None if process is None else process.exitcode
        self.end()
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return f"the process died by {signal.Signals(-code).name}"
        return f"the process died with exit code {code}"

    def end(self) -> None:
        """Kill the process, whatever it does; the next request begins another."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


@contextmanager
def _without_main() -> Iterator[None]:
    """Within, a process that begins does not run the user's script again: it needs none of it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _serve(make: Callable[[], Workbench], connection: Connection) -> None:
    begin_child()
    logging.getLogger("mednext_cli").setLevel(logging.ERROR)  # what matters is sent
    try:
        bench = make()
    except Exception as error:
        connection.send(_explain(error)[0])
        return
    connection.send("")
    while True:
        try:
            what, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_answer(bench, what, arguments))


def _answer(bench: Workbench, what: str, arguments: tuple[object, ...]) -> tuple[object, str, bool]:
    try:
        return getattr(bench, what)(*arguments), "", False
    except Exception as error:
        return None, *_explain(error)


def _explain(error: Exception) -> tuple[str, bool]:
    """A line, and whether the device may be in a state that spoils what follows."""
    if is_out_of_memory(error):
        return "out of memory", False
    kind = type(error).__name__
    text = " ".join(f"{error}".split())[:200]
    if kind in _HARMLESS:
        return f"{_HARMLESS[kind]}: {text}", False
    return f"{kind}: {text}", True
