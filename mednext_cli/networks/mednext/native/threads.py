"""Work shared out among as many threads as PyTorch has, for kernels that release Python's lock."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from math import ceil

import torch

Part = tuple[int, int]
"""The first of a range, and the one behind its last."""


def parts_of(count: int, unit: int, parts: int) -> list[Part]:
    """The range 0 to `count` in at most so many parts, which begin at multiples of `unit`."""
    length = unit * max(1, ceil(count / (unit * parts)))
    return [(begin, min(begin + length, count)) for begin in range(0, count, length)]


def parts_for_threads(count: int, unit: int) -> list[Part]:
    """One part a thread, where no result depends on how a range is divided."""
    return parts_of(count, unit, torch.get_num_threads())


def run_parts(
    parts: Sequence[Part], work: Callable[[int, int, int], object], like: torch.Tensor
) -> None:
    """Do all parts, unless tensors as this one have no values to compute with.

    Args:
        parts: see `parts_of`.
        work: is given a part's number, its first, and the one behind its last.
        like: a tensor that is worked on.
    """
    if like.is_meta:
        return
    numbered = [(number, *part) for number, part in enumerate(parts)]
    threads = min(torch.get_num_threads(), len(parts))
    if threads <= 1:
        for part in numbered:
            work(*part)
        return
    futures = [_pool(threads, os.getpid()).submit(work, *part) for part in numbered]
    try:
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
