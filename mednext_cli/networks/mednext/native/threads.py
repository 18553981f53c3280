"""Work shared out among as many threads as PyTorch has, for kernels that release Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from math import ceil

import torch

PARTS = 8  # in which sums over voxels are made: the same for any number of threads
WORTH_SHARING = 2e7  # operations: a quarter of a millisecond; to wake a thread takes a tenth
Part = tuple[int, int]
"""The first of a range, and the one behind its last."""


def parts_of(count: int, unit: int, parts: int) -> list[Part]:
    """The range 0 to `count` in at most so many parts, which begin at multiples of `unit`."""
    length = unit * max(1, ceil(count / (unit * parts)))
    return [(begin, min(begin + length, count)) for begin in range(0, count, length)]


def parts_for_threads(count: int, unit: int, operations: float) -> list[Part]:
    """One part a thread, where no result depends on how a range is divided.

    Args:
        count: the range's length.
        unit: of which parts are multiples.
        operations: of all parts; so few that waking a thread takes longer are one part.
    """
    threads = 1 if operations < WORTH_SHARING else torch.get_num_threads()
    return parts_of(count, unit, threads)


def share_parts(
    count: int, operations: float, work: Callable[[int, int], object], like: torch.Tensor
) -> None:
    """Do parts 0 to `count`, each thread some that follow each other.

    Args:
        count: of parts.
        operations: see `parts_for_threads`.
        work: is given the first of a thread's parts, and the one behind its last.
        like: see `run_parts`.
    """
    run_parts(parts_for_threads(count, 1, operations), work, like)


def run_parts(
    parts: Sequence[Part], work: Callable[[int, int], object], like: torch.Tensor
) -> None:
    """Do all parts, unless tensors as this one have no values to compute with.

    Args:
        parts: see `parts_of`.
        work: is given a part's first, and the one behind its last. It holds the tensors that it
            works on, since a second Ctrl-C does not wait for it.
        like: a tensor that is worked on.
    """
    if like.is_meta:
        return
    threads = min(torch.get_num_threads(), len(parts))
    if threads <= 1:
        for part in parts:
            work(*part)
        return
    pool = _pool(threads, os.getpid())
    futures = list[Future[object]]()
    try:
        for part in parts[1:]:
            futures.append(pool.submit(work, *part))
        work(*parts[0])
        for future in futures:
            future.result()
    finally:  # Ctrl-C must not free what kernels are still writing to
        for future in futures:
            future.cancel()
        wait(futures)


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Of this process: one that was forked from it has no threads yet."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"mednext-{process}")
