"""Cores of a CPU, shared out among cases: the work on a small tile is too little for several."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch

from mednext_cli.inference.average import Member
from mednext_cli.inference.engine import runs_side_by_side

_SMALL_TILE = 2**18  # voxels, 64^3: larger ones keep several cores busy
_MOST = 8  # cases at once; Python, of which there is one, takes a sixth of a case's time


def count_side_by_side(members: Sequence[Member], cases: int) -> int:
    """How many cases to work on at once, with a core each.

    Several where all tiles are small and PyTorch runs them on a CPU, and there are cases enough.
    Results are the same.

    Args:
        members: the networks.
        cases: to be predicted.
    """
    count = min(torch.get_num_threads(), _MOST)
    fit = all(
        runs_side_by_side(member.engine) and prod(member.patch_voxels) < _SMALL_TILE
        for member in members
    )
    return count if fit and cases >= 2 * count else 1


@contextmanager
def sharing_cores(cases: int) -> Iterator[None]:
    """Where several cases are worked on at once: PyTorch has a thread in each that begins here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(threads if cases == 1 else 1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
