"""Idle threads sleep early, unless the user said otherwise, in every process of a command."""

import os
import subprocess
import sys

import pytest

from mednext_cli.foundation.idle_threads import let_threads_sleep

_SHOW = """
import os, sys
from mednext_cli import app
app.main = lambda: print(
    os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OPENBLAS_THREAD_TIMEOUT"),
    {"torch", "numpy"} & sys.modules.keys() or "none",
) or 0
app.main_and_exit()
"""


@pytest.mark.parametrize("given", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}])
def test_what_the_user_set_stays(given):
    given = {**given, "OPENBLAS_THREAD_TIMEOUT": "20"}
    environment = dict(given)
    let_threads_sleep(environment)
    assert environment == given


def test_the_command_says_it_before_pytorch_and_numpy_are_loaded():
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", _SHOW], env=environment, capture_output=True, text=True, check=True
    )
    count, timeout, loaded = done.stdout.split()
    assert int(count) < 100_000
    assert int(timeout) < 20
    assert loaded == "none"
