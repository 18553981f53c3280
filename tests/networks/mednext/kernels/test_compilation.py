"""The kernels compile for a GPU without one: in a process of its own, not interpreted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[4] / "benchmarks" / "compile_kernels.py"


def _compile(tmp_path, *options):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    return subprocess.run(
        [sys.executable, _SCRIPT, *options], env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("capability", ["80", "90"])
def test_bfloat16_kernels_of_size_3_compile_without_spills(capability, tmp_path):
    found = _compile(tmp_path, "--kernels", "3", "--only", "bf16", "--capability", capability)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count("registers") == 20


@pytest.mark.slow
def test_all_kernels_compile(tmp_path):
    found = _compile(tmp_path)
    assert found.returncode == 0, found.stdout + found.stderr
