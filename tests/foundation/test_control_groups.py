"""Limits of control groups, versions 1 and 2, at every level."""

import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mednext_cli.foundation.control_groups import allowed_cores, free_bytes

MIB = 2**20


def _write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def _membership(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "membership"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_version_2_counts_pages_that_can_be_taken_back(tmp_path: Path, mounted: Path) -> None:
    _write(
        mounted / "slurm" / "job_7",
        memory__max=1000 * MIB,
        memory__current=900 * MIB,
        memory__stat=f"anon {100 * MIB}\ninactive_file {700 * MIB}\nactive_file {100 * MIB}",
    )
    assert free_bytes(_membership(tmp_path, "0::/slurm/job_7"), mounted) == 800 * MIB


def test_version_1_counts_them_for_all_groups_below(tmp_path: Path, mounted: Path) -> None:
    _write(
        mounted / "memory" / "docker",
        memory__limit_in_bytes=500 * MIB,
        memory__usage_in_bytes=400 * MIB,
        memory__stat=f"inactive_file {MIB}\ntotal_inactive_file {300 * MIB}",
    )
    lines = ("5:cpu,cpuacct:/docker", "4:memory:/docker", "0::/")
    assert free_bytes(_membership(tmp_path, *lines), mounted) == 400 * MIB


@pytest.mark.parametrize("level", ["", "user.slice", "user.slice/session"])
def test_the_tightest_level_decides(tmp_path: Path, mounted: Path, level: str) -> None:
    for name in ("", "user.slice", "user.slice/session"):
        _write(mounted / name, memory__max="max", memory__current=40 * MIB, memory__stat="anon 1")
    _write(mounted / level, memory__max=100 * MIB)
    assert free_bytes(_membership(tmp_path, "0::/user.slice/session"), mounted) == 60 * MIB


def test_a_soft_limit_counts_and_nothing_is_below_zero(tmp_path: Path, mounted: Path) -> None:
    group = mounted / "job"
    _write(group, memory__max=100 * MIB, memory__high=80 * MIB, memory__current=50 * MIB)
    membership = _membership(tmp_path, "0::/job")
    assert free_bytes(membership, mounted) == 30 * MIB
    _write(group, memory__current=90 * MIB)
    assert free_bytes(membership, mounted) == 0


def test_in_a_container_the_path_of_the_host_leads_to_its_own_group(
    tmp_path: Path, mounted: Path
) -> None:
    _write(
        mounted / "memory",
        memory__limit_in_bytes=200 * MIB,
        memory__usage_in_bytes=50 * MIB,
    )
    assert free_bytes(_membership(tmp_path, "3:memory:/docker/abc"), mounted) == 150 * MIB


def test_no_limit_is_no_limit(tmp_path: Path, mounted: Path) -> None:
    _write(
        mounted / "memory",
        memory__limit_in_bytes=9223372036854771712,
        memory__usage_in_bytes=50 * MIB,
    )
    assert free_bytes(_membership(tmp_path, "3:memory:/", "0::/", "odd"), mounted) == math.inf
    assert free_bytes(tmp_path / "none", mounted) == math.inf
    assert allowed_cores(tmp_path / "none", mounted) == math.inf


def test_quotas_of_cores(tmp_path: Path, mounted: Path) -> None:
    _write(mounted / "a", cpu__max="350000 100000")
    _write(mounted / "a" / "b", cpu__max="max 100000")
    assert allowed_cores(_membership(tmp_path, "0::/a/b"), mounted) == 3.5
    first = mounted / "cpu,cpuacct" / "job"
    _write(first, cpu__cfs_quota_us=200000, cpu__cfs_period_us=100000)
    lines = _membership(tmp_path, "2:cpu,cpuacct:/job")
    assert allowed_cores(lines, mounted) == 2
    _write(first, cpu__cfs_quota_us=-1)
    assert allowed_cores(lines, mounted) == math.inf


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space")
@pytest.mark.parametrize("kind", [resource.RLIMIT_AS, resource.RLIMIT_DATA])
def test_a_limit_of_the_shell_is_seen(kind: int) -> None:
    script = "from mednext_cli.foundation.machine import free_memory_bytes as f; print(f())"
    command = [sys.executable, "-c", f"import resource; resource.setrlimit({kind}, (10**9,) * 2)"]
    command[-1] += f"\n{script}"
    made = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert 10**8 < int(made.stdout) < 10**9
