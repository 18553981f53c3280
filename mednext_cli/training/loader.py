"""Batches, drawn in this process or in workers."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch
from torch._C import _remove_worker_pids
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from mednext_cli.foundation.children import begin_child, starting_children
from mednext_cli.foundation.devices import is_out_of_memory
from mednext_cli.foundation.errors import MednextError

PREFETCHED = 4  # batches a worker
Made = TypeVar("Made")
Prepare = Callable[[Sequence[int]], Made]


def iterate_batches(
    prepare: Prepare[Made], numbers: Iterable[Sequence[int]], workers: int, pin_memory: bool
) -> Generator[Made, None, None]:
    """Batches in the order asked for, whatever the number of workers.

    Args:
        prepare: makes a batch of the samples of these numbers; it travels to the workers.
        numbers: of the samples of each batch.
        workers: processes that draw them; 0 draws them in this one.
        pin_memory: give tensors that a GPU can fetch without waiting.

    Raises:
        MednextError: a case cannot be read, a worker died, or memory does not suffice.
    """
    loader: DataLoader[Made] = _Loader(
        _Reporting(prepare, workers),
        batch_sampler=numbers,  # type: ignore[arg-type] # any iterable does
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=PREFETCHED if workers else None,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_begin_worker,
    )
    iterator: Any = None
    try:
        iterator = _start(loader)
        for batch in iterator:
            if isinstance(batch, MednextError):
                raise batch
            yield batch
    except (RuntimeError, OSError, EOFError) as error:
        if explained := _explain(error, workers):
            raise explained from error
        raise
    finally:
        if workers and iterator is not None:
            _stop(iterator)


class _Reporting(Dataset[Any]):
    """Gives a user's error for the batch, which on its way through torch would lose its fields."""

    def __init__(self, prepare: Prepare[Any], workers: int) -> None:
        self._prepare, self._workers = prepare, workers

    def __getitems__(self, numbers: Sequence[int]) -> object:
        try:
            return self._prepare(numbers)
        except MednextError as error:
            return error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return MednextError(
                "there is too little memory to prepare batches", _fewer(self._workers)
            )


class _Loader(DataLoader[Made]):
    def _get_iterator(self) -> _BaseDataLoaderIter:
        return _Workers(self) if self.num_workers else super()._get_iterator()


class _Workers(_MultiProcessingDataLoaderIter):
    """All workers begin, or none is left: it would look for queues that are gone, and say so."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        try:
            super().__init__(loader)
        except BaseException:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """Torch's own end needs what is not made yet."""
        self._shutdown = True
        if getattr(self, "_worker_pids_set", False):
            _remove_worker_pids(id(self))
            self._worker_pids_set = False
        if hasattr(self, "_pin_memory_thread_done_event"):
            self._pin_memory_thread_done_event.set()
        _kill(getattr(self, "_workers", ()))


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join()


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 - torch types a list; this is a whole batch
    return batch


def _begin_worker(_: int) -> None:
    begin_child()
    torch.set_num_threads(1)


def _start(loader: DataLoader[Any]) -> Iterator[Any]:
    with starting_children(), _without_alarm():
        return iter(loader)


@contextmanager
def _without_alarm() -> Iterator[None]:
    """Keep torch from raising in the middle of anything when a worker dies (its SIGCHLD handler).

    The next batch that is asked for says the same within seconds, and there the state is whole.
    """
    is_set = signal_handling._SIGCHLD_handler_set
    signal_handling._SIGCHLD_handler_set = True
    try:
        yield
    finally:
        signal_handling._SIGCHLD_handler_set = is_set


def _explain(error: Exception, workers: int) -> MednextError | None:
    text = str(error)
    if re.search(r"DataLoader worker \(pid", text) or _is_deserted(error):
        return MednextError(
            "a process that prepares batches died, most likely for its memory or shared memory",
            f"{_fewer(workers)} In a container, give it more shared memory (--shm-size=8g).",
        )
    if "Too many open files" in text or "ancdata" in text:
        return MednextError(
            "the processes that prepare batches need more open files than this shell allows",
            f"Run ulimit -n 65536 first. {_fewer(workers)}",
        )
    return None


def _is_deserted(error: Exception) -> bool:
    """Whether a batch was announced by a worker that died before it was fetched from it."""
    gone = isinstance(error, ConnectionError | FileNotFoundError | EOFError)
    return gone and not str(error).startswith("Caught ")  # by torch, in a worker that lives


def _fewer(workers: int) -> str:
    return f"Run the same command again with --set training.workers={workers // 2}."


def _stop(iterator: Any) -> None:  # noqa: ANN401 - torch's own class, private
    """End the workers now, and not when the last reference to them goes."""
    iterator._shutdown_workers()
    _kill(iterator._workers)  # those in the middle of something that does not end
