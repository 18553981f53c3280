"""What the control groups of this process allow: batch systems, containers and systemd set them.

Version 1 and 2 of cgroups; a limit may stand at any level above the process.
"""

import math
from collections.abc import Iterator
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")
_NO_LIMIT = 1 << 60  # version 1 writes a number near 2^63


def free_bytes(membership: Path = _MEMBERSHIP, mounted: Path = _MOUNTED) -> float:
    """Memory that the tightest group still gives; infinite where none limits it.

    Pages of files that were read and are not in use count as free: the kernel takes them back
    before it kills anybody, and a cache that was just read fills a group with them.

    Args:
        membership: the groups of this process, as /proc lists them.
        mounted: where the groups are.
    """
    free = math.inf
    for group in _groups(membership, mounted, "memory"):
        limit = min(
            _number(group / "memory.max"),
            _number(group / "memory.high"),
            _number(group / "memory.limit_in_bytes"),
        )
        if limit < _NO_LIMIT:
            used = min(_number(group / "memory.current"), _number(group / "memory.usage_in_bytes"))
            free = min(free, limit - (used - _reclaimable(group)))
    return max(0.0, free)


def allowed_cores(membership: Path = _MEMBERSHIP, mounted: Path = _MOUNTED) -> float:
    """Cores that the tightest group's quota comes to; infinite where none limits them."""
    cores = math.inf
    for group in _groups(membership, mounted, "cpu"):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if (group / "cpu.max").is_file():
            quota, period = _pair(group / "cpu.max")
        if 0 < quota < math.inf and 0 < period < math.inf:  # version 1 writes -1 for none
            cores = min(cores, quota / period)
    return cores


def _groups(membership: Path, mounted: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups this process is in, each with all above it."""
    for mount, name in _memberships(membership, mounted, controller):
        # In a container the path may be the host's; then the mount is the container's own group.
        group = mount / name.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(mount) and folder.is_dir():
                yield folder


def _memberships(membership: Path, mounted: Path, controller: str) -> Iterator[tuple[Path, str]]:
    try:
        lines = membership.read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, name = line.split(":", 2) if line.count(":") >= 2 else ("", "", "")
        if controller in controllers.split(","):
            yield _mount_of(mounted, controllers, controller), name
        elif not controllers and name:
            yield mounted, name


def _mount_of(mounted: Path, controllers: str, controller: str) -> Path:
    together = mounted / controllers  # like cpu,cpuacct
    return together if together.is_dir() else mounted / controller


def _reclaimable(group: Path) -> float:
    """Bytes of pages of files not in use, the group and all below it."""
    try:
        lines = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return 0.0
    counts = dict(line.split(maxsplit=1) for line in lines if " " in line)
    # Version 1 counts the groups below apart.
    text = counts.get("total_inactive_file", counts.get("inactive_file", "0"))
    return float(text) if text.isdigit() else 0.0


def _number(path: Path) -> float:
    """The number a file holds; infinite for "max", or without the file."""
    try:
        text = path.read_text().strip()
    except (OSError, ValueError):
        return math.inf
    return float(text) if text.lstrip("-").isdigit() else math.inf


def _pair(path: Path) -> tuple[float, float]:
    """Quota and period of version 2, ``max 100000``."""
    words = path.read_text().split()
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return math.inf, math.inf
    return float(words[0]), float(words[1])
