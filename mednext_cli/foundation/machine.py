"""What this machine offers: cores and free memory, as the container or batch system limits them."""

import os
from pathlib import Path

GIB = 2**30
_MEMORY_SHARE = 0.6  # the rest is left to the page cache and to other users


def usable_cores() -> int:
    """Cores this process may use (affinity and cgroup quota respected)."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = _cgroup_cores()
    return max(1, min(cores, quota) if quota else cores)


def _cgroup_cores() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, int(quota) // int(period))


def free_memory_bytes() -> int:
    """Memory that can be taken now without swapping (cgroup limit respected)."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def count_workers(requested: int | None, bytes_per_worker: int, items: int) -> int:
    """How many worker processes to start.

    Args:
        requested: what the user asked for; None leaves the choice to free memory and cores,
            0 means none: work in this process.
        bytes_per_worker: estimated peak of one worker.
        items: there is no use for more workers than items.
    """
    if requested is not None:
        return min(requested, max(items, 1))
    fitting = int(_MEMORY_SHARE * free_memory_bytes() // max(bytes_per_worker, 1))
    return max(1, min(usable_cores(), fitting, items))
