"""Cores of a CPU, shared out among cases: the work on a small tile is too little for several."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from math import prod

import torch

from mednext_cli.inference.average import Member
from mednext_cli.inference.engine import runs_side_by_side

_SMALL_TILE = 2**18  # voxels, 64^3: larger ones keep several cores busy
_MOST_TILES = 32  # of a case: a large one at the end would leave the other cores without work
_MOST = 8  # cases at once; Python, of which there is one, takes a sixth of a case's time


def count_side_by_side(members: Sequence[Member], tiles: Collection[int]) -> int:
    """How many cases to work on at once, with a core each.

    Several where all tiles are small, no case has many, there are cases enough, and PyTorch runs
    the networks on a CPU with the same results by any number of threads.

    Args:
        members: the networks.
        tiles: of each case that is to be predicted.
    """
    count = min(torch.get_num_threads(), _MOST)
    fit = all(
        runs_side_by_side(member.engine) and prod(member.patch_voxels) < _SMALL_TILE
        for member in members
    )
    fit = fit and max(tiles, default=0) <= _MOST_TILES
    return count if fit and len(tiles) >= 2 * count else 1


@contextmanager
def sharing_cores(cases: int) -> Iterator[None]:
    """Where several cases are worked on at once: PyTorch has a thread in each that begins here."""
    if cases == 1:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
