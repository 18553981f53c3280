"""What the preparation of batches takes in memory, and whether there is as much."""

import math
from collections.abc import Sequence

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.machine import GIB, free_memory_bytes, free_shared_memory_bytes
from mednext_cli.settings.plan import Plan
from mednext_cli.training.loader import PREFETCHED

_MEMORY_SHARE = 0.25  # of the free memory may hold cases
_SHARED_SHARE = 0.9  # of the free shared memory may hold cases and batches
_READ = 2  # times the patch, generously: what is read of one that may be turned and zoomed
_PER_WORKER = PREFETCHED + 1  # batches that wait, and the one that is fetched


def batch_bytes(cached: CachedDataset, plan: Plan, augmented_later: bool) -> int:
    """Of a batch as it travels: images as cached, labels of one byte a voxel.

    Args:
        cached: the dataset.
        plan: with the patch and batch of the run.
        augmented_later: whether what was read travels instead of the patches.
    """
    patches = plan.batch_size * math.prod(plan.patch_voxels) * _voxel_bytes(cached)
    return patches * _READ if augmented_later else patches


def check_shared_memory(batch: int, workers: int) -> None:
    """Refuse what would end in the middle of an epoch, by a signal that names nothing.

    Args:
        batch: bytes of one, see `batch_bytes`.
        workers: processes that prepare batches.

    Raises:
        SettingsError: their batches do not fit into the free shared memory.
    """
    free = free_shared_memory_bytes()
    if free is None or workers * _PER_WORKER * batch <= _SHARED_SHARE * free:
        return
    fitting = int(_SHARED_SHARE * free // (_PER_WORKER * batch))
    needed = workers * _PER_WORKER * batch / GIB
    raise SettingsError(
        f"{workers} processes that prepare batches take about {needed:.2f} GiB of shared memory, "
        f"{free / GIB:.2f} GiB are free",
        "In a container, give it more (docker run --shm-size=8g), or run the same command again "
        f"with --set training.workers={fitting}.",
    )


def fits_in_memory(
    cached: CachedDataset, case_ids: Sequence[str], batch: int, workers: int
) -> bool:
    """Whether these cases, image and label, may stay in memory once they are read.

    Args:
        cached: the dataset.
        case_ids: to be kept; processes share them.
        batch: bytes of one, see `batch_bytes`.
        workers: processes that prepare batches; 0 needs no shared memory.
    """
    voxels = sum(math.prod(cached.case(case_id).image_shape[1:]) for case_id in case_ids)
    needed = voxels * _voxel_bytes(cached)
    if needed >= _MEMORY_SHARE * free_memory_bytes():
        return False
    shared = free_shared_memory_bytes() if workers else None
    return shared is None or needed + workers * _PER_WORKER * batch < _SHARED_SHARE * shared


def _voxel_bytes(cached: CachedDataset) -> int:
    """Of all channels and the label; a cache is of one type."""
    if not cached.case_ids:
        return 0
    return cached.case(cached.case_ids[0]).stored_dtype.itemsize * len(cached.plan.channels) + 1
