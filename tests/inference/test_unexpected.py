"""Faults of ours or of an engine's, in one case: named as such, and the others are done."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mednext_cli.foundation import plugins
from mednext_cli.inference import average, label_maps, pipeline
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.inference.synthetic import predict
from tests.inference.test_record import FAST, maps

Capture = pytest.CaptureFixture[str]


def failing(real: object, case: str = "oblique") -> object:
    """What `real` does, but for the second of three calls."""
    calls: list[int] = []

    def work(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise ZeroDivisionError("of all things")
        return real(*arguments)  # type: ignore[operator]

    return work


@pytest.mark.parametrize(
    ("module", "name", "workers"),
    [
        (pipeline, "prepare_source", "2"),
        (average, "predict_blocks", "2"),
        (pipeline, "Restoration", "0"),
        (label_maps, "write_label_map", "2"),
    ],
)
def test_an_unexpected_error_is_that_cases_failure(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    workers: str,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing(getattr(module, name)))
        assert predict(scans, out, model, options=(*FAST, "--workers", workers)) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError: of all things. This is a fault of ours" in error
    assert "1 of 3 cases failed" in error
    assert "Traceback" not in error
    assert len(maps(out)) == 2
    assert predict(scans, out, model, options=FAST) == 0
    assert "1 made, 2 kept" in capsys.readouterr().out


class Engine:
    """Nearly certain background; how it misbehaves in its second call is set from outside."""

    misbehaviour: object = None

    activation = "softmax"

    def __init__(self, _: object, __: object, options: EngineOptions) -> None:
        self.device, self.calls = options.device, 0

    def __call__(self, images: Tensor) -> object:
        self.calls += 1
        made = torch.zeros(len(images), 3, *images.shape[2:])
        made[:, 0] = 9
        if self.calls != 2 or self.misbehaviour is None:
            return made
        return self.misbehaviour(made)  # type: ignore[operator]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Engine]]:
    """A plug-in's engine named "odd"."""
    entry = EntryPoint("odd", "tests.inference.test_unexpected:Engine", "mednext.engines")
    real = plugins.entry_points
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: [*real(group=group)] + [entry] * (group == "mednext.engines"),
    )
    plugins.find_plugins.cache_clear()
    yield Engine
    plugins.find_plugins.cache_clear()
    Engine.misbehaviour = None


def _crash(_: Tensor) -> object:
    raise RuntimeError("broken pipe in the engine")


@pytest.mark.parametrize(
    ("misbehaviour", "code", "expected"),
    [
        (_crash, 1, "RuntimeError: broken pipe in the engine"),
        (lambda _: sys.exit(3), 2, "ends the program with exit code 3"),
        (lambda made: made[:, :2], 2, "gives float32 1 x 2 x 16 x 32 x 16 where logits 1 x 3"),
        (lambda made: made[:, :, :3], 2, "gives float32 1 x 3 x 3"),
        (lambda _: None, 2, "gives a NoneType where logits"),
        (lambda made: made.numpy(), 2, "gives a ndarray where logits"),
        (lambda made: made > 0, 2, "gives bool"),
        (lambda made: made * torch.nan, 2, "the network gives NaN for"),
    ],
)
def test_an_engine_that_fails_in_a_case_fails_that_case(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: Capture,
    engine: type[Engine],
    misbehaviour: object,
    code: int,
    expected: str,
) -> None:
    out, odd = tmp_path / "out", (*FAST, "--engine", "odd", "--workers", "0")
    engine.misbehaviour = staticmethod(misbehaviour)  # type: ignore[arg-type]
    assert predict(scans, out, model, options=odd) == code
    error = capsys.readouterr().err
    assert expected in error
    assert "1 of 3 cases failed" in error
    assert len(maps(out)) == 2


@pytest.mark.parametrize(
    "error",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
    ],
)
def test_a_device_without_memory_is_named(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(NetworkEngine, "__call__", full)
    assert predict(scans, tmp_path / "out", model, options=("--cases", "oblique")) == 2
    said = capsys.readouterr().err
    assert "cpu has too little memory for a tile of 16 x 32 x 16 voxels. Free some." in said
    assert "fault of ours" not in said
