"""Work shared out among as many threads as PyTorch has, for kernels that release Python's lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from math import ceil

import torch


def in_parts(count: int, unit: int, work: Callable[[int, int], object]) -> None:
    """Do work on the range 0 to `count`, in one part a thread.

    Args:
        count: of things.
        unit: every part but the last begins and ends at a multiple of it.
        work: is given the first of a part, and the one behind its last.
    """
    threads = torch.get_num_threads()
    length = unit * max(1, ceil(count / (unit * threads)))
    begins = range(0, count, length)
    if len(begins) == 1:
        work(0, count)
        return
    ends = [min(begin + length, count) for begin in begins]
    for _ in _pool(threads, os.getpid()).map(work, begins, ends):
        pass  # an exception of a part is raised here


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="mednext-kernels")
