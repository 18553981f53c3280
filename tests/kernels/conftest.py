"""Without a CUDA device the kernels run in Triton's interpreter, on the CPU.

The interpreter is chosen when Triton is first imported, so the choice is made when the tests are
collected; nothing else in the suite imports Triton, and PyTorch does not by itself.
"""

import os
import sys
from importlib.util import find_spec

import pytest
import torch

if find_spec("triton") is None:
    collect_ignore_glob = ["test_*"]
elif not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.runtime.interpreter as interpreter

    _patch = interpreter._patch_lang_tensor

    def _patch_for_numpy(tensor, scope):
        # Triton 3.6 takes int() of an array of one element, which NumPy 2.4 no longer allows.
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = _patch_for_numpy


@pytest.fixture
def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """Memory that a kernel is given to write holds NaN, so that what it leaves out is seen."""
    empty, empty_like = torch.empty, torch.empty_like

    def filled(make):
        def made(*args, **kwargs):
            result = make(*args, **kwargs)
            if result.is_floating_point() and result.device.type in ("cpu", "cuda"):
                result.fill_(float("nan"))
            return result

        return made

    from mednext_cli.networks.kernels import block, depthwise

    class Poisoned:
        def __getattr__(self, name):
            found = {"empty": filled(empty), "empty_like": filled(empty_like)}
            return found.get(name) or getattr(torch, name)

    monkeypatch.setattr(depthwise, "torch", Poisoned())
    monkeypatch.setattr(block, "torch", Poisoned())
