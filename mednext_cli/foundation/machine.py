"""What this machine offers: cores and free memory, as the container or batch system limits them."""

import math
import os
import shutil
from pathlib import Path
from typing import Any

from mednext_cli.foundation.control_groups import allowed_cores, free_bytes

GIB = 2**30
SHARED_MEMORY = Path("/dev/shm")  # of Linux; elsewhere processes share without such a limit
_MEMORY_SHARE = 0.6  # the rest is left to the page cache and to other users


def usable_cores() -> int:
    """Cores this process may use (affinity and cgroup quota respected)."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = allowed_cores()
    return max(1, cores if math.isinf(quota) else min(cores, int(quota)))


def free_memory_bytes() -> int:
    """Memory that this process can take now without swapping.

    What the system has available, within the limits of control groups (a batch system's, a
    container's) and of the shell (``ulimit -v``, ``ulimit -d``).
    """
    import psutil

    available = float(psutil.virtual_memory().available)
    return int(max(0.0, min(available, free_bytes(), _free_by_ulimit())))


def free_shared_memory_bytes() -> int | None:
    """What processes can share now; None where the system sets no limit of its own to that."""
    return shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else None


def _free_by_ulimit() -> float:
    """What the limits of this process leave; infinite where there are none."""
    import psutil

    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    used = psutil.Process().memory_info()
    free = math.inf
    for kind, taken in ((resource.RLIMIT_AS, used.vms), (resource.RLIMIT_DATA, _data(used))):
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY:
            free = min(free, limit - taken)
    return free


def _data(used: Any) -> int:  # noqa: ANN401 - psutil's tuple, which differs by system
    """Bytes that count against ``ulimit -d``."""
    return int(getattr(used, "data", 0))


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
