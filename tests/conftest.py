"""Real data where it is found, the same examples everywhere, and how Triton runs."""

import gc
import os
import signal
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.places import DATA

# The same examples on every machine, so that a red run is a change's doing;
# HYPOTHESIS_PROFILE=search draws new ones.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


# TF32 has 10 bits of a float32's 23; what tests compare with float64 is float32 itself.
torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False

# Ignored where tests run in the background of a script or under nohup; children would inherit it.
for _signal, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _usual)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a GPU skips without; what takes the kernels' device is of the GPU where one is."""
    without = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    for item in items:
        if any(item.iter_markers("gpu")):
            item.add_marker(without)
        elif torch.cuda.is_available() and "device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)
    _slow_files_first(items)


def pytest_collection_finish() -> None:
    """Thousands of tests stay until the end."""
    _leave_alone_what_stays()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """So does what the tests of a file have imported and kept."""
    result = yield
    if nextitem is None or nextitem.path != item.path:
        _leave_alone_what_stays()
    return result


def _leave_alone_what_stays() -> None:
    """Searches for garbage pass over it from here on, which else take seconds of some tests."""
    gc.collect()
    gc.freeze()


def _slow_files_first(items: list[pytest.Item]) -> None:
    """At the end of a run in several processes none is left alone with a file of minutes."""
    slow = {item.path for item in items if any(item.iter_markers("slow"))}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real public data; its README says what and under which licence."""
    if not DATA.is_dir():
        pytest.skip(f"no real scans at {DATA}: set MEDNEXT_TEST_DATA to the folder that holds them")
    return DATA


def _interpret_triton() -> None:
    """Run Triton's kernels on the CPU; here, because the first import of Triton decides it."""
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.runtime.interpreter as interpreter

    patch = interpreter._patch_lang_tensor

    def patch_for_numpy(tensor, scope):  # type: ignore[no-untyped-def]
        # Triton 3.6 takes int() of an array of one element, which NumPy 2.4 no longer allows.
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patch_for_numpy


if find_spec("triton") is not None and not torch.cuda.is_available():
    _interpret_triton()
