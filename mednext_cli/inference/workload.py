"""How much there is to predict, told from headers, and with how many threads beside the network."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.machine import GIB, free_memory_bytes
from mednext_cli.foundation.progress import track
from mednext_cli.foundation.workers import RunSettings
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.memory import bytes_on, estimate_shape, peek
from mednext_cli.inference.pipeline import Pipeline, Store
from mednext_cli.inference.progress import TileCount, expected_tiles
from mednext_cli.volumes.volume import Grid

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
    doubting: bool = False,
) -> Iterator[tuple[Pipeline, TileCount]]:
    """A pipeline for these cases, and the count that its runs and their caller keep.

    Args:
        networks: loaded once, for all cases.
        store: where results go.
        cases: all that may be predicted.
        description: of the work, for the progress bar.
        workers: threads that prepare, and as many that write; None chooses.
        fewer: the option for none, for messages; empty where the command has no such option.
        doubting: see `Pipeline`.
    """
    grids = {case.id: peek(case) for case in cases}
    needs = _estimate_bytes(networks, grids, doubting)
    _check_memory(max(needs.values(), default=0))
    threads = RunSettings[Case](workers, bytes_of=lambda case: needs[case.id]).count(cases)
    if workers is None:
        # On a CPU the network needs every core itself.
        threads = min(threads, 1 if networks.device.type == "cpu" else _MOST_WORKERS)
    tiles = _estimate_tiles(networks, grids)
    with track(description, expected_tiles(tiles), "tiles") as bar:
        yield Pipeline(networks, store, threads, fewer, doubting=doubting), TileCount(bar, tiles)


def _estimate_bytes(
    networks: NetworkAverage, grids: Mapping[str, Grid | None], doubting: bool
) -> dict[str, int]:
    """Memory of each case beside the network, by case id; 0 where its header tells nothing."""
    models = len(networks.members)
    return {
        name: bytes_on(grid, networks.plan, models, doubting) if grid else 0
        for name, grid in grids.items()
    }


def _check_memory(largest: int) -> None:
    """Warn where the largest case may need more than there is."""
    free = free_memory_bytes()
    logger.debug("the largest case needs about %.1f GiB", largest / GIB)
    if largest > free:
        logger.warning(
            "the largest case needs about %.1f GiB, %.1f GiB are free", largest / GIB, free / GIB
        )


def _estimate_tiles(networks: NetworkAverage, grids: Mapping[str, Grid | None]) -> dict[str, int]:
    """Tiles of each case, by case id; 0 where its header tells nothing."""
    return {
        name: networks.count_tiles(estimate_shape(grid, networks.plan)) if grid else 0
        for name, grid in grids.items()
    }
