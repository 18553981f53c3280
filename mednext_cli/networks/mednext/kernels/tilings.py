"""Other tiles than `tiles` takes by arithmetic, where a measurement has found them faster.

A preference is kept for the process, by what a kernel computes: it is heeded in the backward pass
and in compiled graphs, too, which call the operators without knowing of networks.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Tiling:
    """What becomes of the usual tiles.

    Attributes:
        width: voxels along W of a depthwise tile, in usual ones.
        warps: of a depthwise program, in usual ones; fewer where a tile has too few values.
        rows: voxels of a tile of the block's products, in usual ones.
    """

    width: float = 1.0
    warps: float = 1.0
    rows: float = 1.0


USUAL = Tiling()
TILINGS: Mapping[str, Tiling] = {
    "": USUAL,
    "narrow": Tiling(width=0.5),
    "wide": Tiling(width=2.0, warps=2.0),
    "more_warps": Tiling(warps=2.0),
    "short": Tiling(rows=0.5),
}


@dataclass(frozen=True)
class Place:
    """What a tile is for.

    Attributes:
        what: a convolution with stride 1 and its gradients, one with stride 2 or transposed and
            its gradients, or the products behind them.
        numbers: voxels along W of the smaller grid, and channels; of products, the channels of
            input, expansion and output.
    """

    what: Literal["dense", "strided", "products"]
    numbers: tuple[int, ...]


_preferred: dict[Place, Tiling] = {}


def tiling_at(place: Place) -> Tiling:
    """The preferred one, or the usual."""
    return _preferred.get(place, USUAL)


def prefer(places: Sequence[Place], name: str) -> None:
    """From now on, in this process, tiles for these places are of the tiling of this name."""
    for place in places:
        _preferred[place] = TILINGS[name]


@contextmanager
def preferring(places: Sequence[Place], name: str) -> Iterator[None]:
    """Within, tiles are of the tiling of this name; behind it, as before."""
    before = dict(_preferred)
    prefer(places, name)
    try:
        yield
    finally:
        _preferred.clear()
        _preferred.update(before)
