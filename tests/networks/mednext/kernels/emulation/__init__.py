"""CUDA C++ on the CPU: a stand-in for the CUDA driver that runs the tensor cores' kernels."""

import ctypes
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mednext_cli.networks.mednext.kernels.tensor_cores import variants
from mednext_cli.networks.mednext.kernels.tensor_cores.driver import Kernels

_HERE = Path(__file__).parent
_SOURCES = Path(variants.__file__).parent / "cuda"
_OLDEST = 12  # has _Float16 in C++
_OPTIONS = ("-std=c++17", "-O1", "-Wall", "-Wno-unknown-pragmas", "-shared", "-fPIC")
MULTIPROCESSORS = 3


def _compiler():
    found = shutil.which("g++")
    if found is None or not sys.platform.startswith("linux"):
        pytest.skip("the emulation needs Linux and g++")
    version = subprocess.run([found, "-dumpversion"], capture_output=True, text=True, check=True)
    if int(version.stdout.split(".")[0]) < _OLDEST:
        pytest.skip(f"the emulation needs g++ {_OLDEST} or later")
    return found


@cache
def driver_of(variant):
    """The stand-in for libcuda that holds this variant; compiling takes a second or two."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "emulation.so"
        # longjmp between fibers looks like a jump into a frame that is gone
        command = [_compiler(), *_OPTIONS, "-U_FORTIFY_SOURCE", *variant.defines]
        command += [f"-I{_HERE}", f"-I{_SOURCES}", str(_HERE / "library.cpp"), "-o", str(made)]
        subprocess.run(command, check=True)
        return ctypes.CDLL(str(made))


def kernels_of(variant, backwards=False):
    """The variant's kernels, as on a GPU of three multiprocessors."""
    driver = driver_of(variant)
    driver.run_backwards(backwards)
    return Kernels(driver, b"emulated", MULTIPROCESSORS, lambda: 0)
