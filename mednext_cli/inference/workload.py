"""How much there is to predict, told from headers, and with how many threads beside the network."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.machine import GIB, free_memory_bytes
from mednext_cli.foundation.progress import track
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.cores import count_side_by_side
from mednext_cli.inference.memory import (
    LABELS_ONLY,
    Beside,
    CaseBytes,
    bytes_on,
    estimate_shape,
    peek,
)
from mednext_cli.inference.pipeline import Pipeline, Store
from mednext_cli.inference.progress import TileCount, expected_tiles
from mednext_cli.volumes.volume import Grid

_SHARE = 0.8  # of the free memory, unless workers are asked for
_MOST_WORKERS = 4  # beside an accelerator; reading and writing are not faster with more
logger = logging.getLogger(__name__)


@contextmanager
def open_pipeline(
    networks: NetworkAverage,
    store: Store,
    cases: Sequence[Case],
    description: str,
    workers: int | None = None,
    fewer: str = "",
    wanted: Beside = LABELS_ONLY,
) -> Iterator[tuple[Pipeline, TileCount]]:
    """A pipeline for these cases, and the count that its runs and their caller keep.

    Args:
        networks: loaded once, for all cases.
        store: where results go.
        cases: all that may be predicted.
        description: of the work, for the progress bar.
        workers: threads that prepare, and as many that write, fewer where memory is short; None
            chooses.
        fewer: the option for none, for messages; empty where the command has no such option.
        wanted: beside label maps, by the networks.

    Raises:
        SettingsError: the memory that is free is too little for a case.
    """
    grids = {case.id: peek(case) for case in cases}
    needs = {
        name: bytes_on(grid, networks, wanted) if grid else CaseBytes()
        for name, grid in grids.items()
    }
    threads = _count_threads(networks, needs, workers)
    tiles = _estimate_tiles(networks, grids)
    one_by_one = wanted.probabilities or threads == 0
    side_by_side = 1 if one_by_one else _count_at_once(networks, needs, tiles, threads)
    with track(description, expected_tiles(tiles), "tiles") as bar:
        doubting = wanted.doubts > 0
        pipeline = Pipeline(
            *(networks, store, threads, fewer), doubting=doubting, side_by_side=side_by_side
        )
        yield pipeline, TileCount(bar, tiles)


def _count_threads(
    networks: NetworkAverage, needs: Mapping[str, CaseBytes], asked: int | None
) -> int:
    """Threads that read, and as many that write: as many as memory allows of those wanted.

    Raises:
        SettingsError: the largest case does not fit by itself.
    """
    if not needs:
        return 0
    name, largest = max(needs.items(), key=lambda item: item[1].alone)
    free = free_memory_bytes()
    logger.debug("the largest case needs about %.1f GiB", largest.alone / GIB)
    if largest.alone > free:
        raise SettingsError(
            f"{name} needs about {largest.alone / GIB:.3g} GiB of memory, "
            f"{free / GIB:.3g} GiB are free",
            "Free some, or predict it on another machine.",
        )
    most = asked
    if most is None:  # on a CPU the network needs every core itself
        most = 1 if networks.device.type == "cpu" else _MOST_WORKERS
    most, share = min(most, len(needs)), _SHARE if asked is None else 1.0
    threads = next(
        count
        for count in range(most, -1, -1)
        if not count or largest.in_flight(count) <= share * free
    )
    if asked is not None and threads < most:
        logger.warning(
            "%d workers would need about %.3g GiB of memory, %.3g GiB are free: there are %d",
            most,
            largest.in_flight(most) / GIB,
            free / GIB,
            threads,
        )
    return threads


def _count_at_once(
    networks: NetworkAverage,
    needs: Mapping[str, CaseBytes],
    tiles: Mapping[str, int],
    threads: int,
) -> int:
    """Cases that the networks work on at once: several only where memory holds them all."""
    count = count_side_by_side(networks.members, tiles.values())
    most = max((need.in_flight(threads, count) for need in needs.values()), default=0)
    return count if most <= _SHARE * free_memory_bytes() else 1


def _estimate_tiles(networks: NetworkAverage, grids: Mapping[str, Grid | None]) -> dict[str, int]:
    """Tiles of each case, by case id; 0 where its header tells nothing."""
    return {
        name: networks.count_tiles(estimate_shape(grid, networks.plan)) if grid else 0
        for name, grid in grids.items()
    }
