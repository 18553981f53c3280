"""The operators on a GPU, or in Triton's interpreter, which the first conftest chooses."""

from importlib.util import find_spec

import pytest
import torch

from tests.networks.mednext.kernels.addresses import Addresses

if find_spec("triton") is None:
    collect_ignore_glob = ["test_*"]


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

    from mednext_cli.networks.mednext.kernels import block_launches, depthwise_launches

    class Poisoned:
        def __getattr__(self, name):
            found = {"empty": filled(empty), "empty_like": filled(empty_like)}
            return found.get(name) or getattr(torch, name)

    monkeypatch.setattr(depthwise_launches, "torch", Poisoned())
    monkeypatch.setattr(block_launches, "torch", Poisoned())


@pytest.fixture(autouse=True)
def addresses(monkeypatch):
    """In the interpreter every address lies in a tensor, and none is stored to twice."""
    if find_spec("triton") is not None and not torch.cuda.is_available():
        Addresses().watch(monkeypatch)
