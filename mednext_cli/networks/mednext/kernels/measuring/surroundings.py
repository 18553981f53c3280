"""What holds for the whole process while a candidate runs, and not behind it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mednext_cli.networks.mednext.kernels.measuring.candidates import Mode


@contextmanager
def in_mode(mode: Mode) -> Iterator[None]:
    """Within, cuDNN and the number of threads are as the mode says."""
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = mode.benchmark
    if mode.threads is not None:
        torch.set_num_threads(mode.threads)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(threads)


@contextmanager
def full_precision() -> Iterator[None]:
    """Within, float32 is float32: no TF32."""
    kinds: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [kind.allow_tf32 for kind in kinds]
    for kind in kinds:
        kind.allow_tf32 = False
    try:
        yield
    finally:
        for kind, was in zip(kinds, before, strict=True):
            kind.allow_tf32 = was


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Within, fresh tensors hold NaN, so that what a kernel does not write is seen.

    PyTorch fills them where its algorithms are deterministic. Libraries would choose others then,
    so this is for kernels of ours alone; what has no deterministic algorithm only warns.
    """
    fresh: Any = torch.utils.deterministic
    was = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = fresh.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    fresh.fill_uninitialized_memory = True
    try:
        yield
    finally:
        fresh.fill_uninitialized_memory = filled
        torch.use_deterministic_algorithms(was, warn_only=warned)
