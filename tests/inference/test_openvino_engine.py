"""The engine openvino: what torch predicts, from a graph that is converted once."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mednext_cli.inference import openvino_engine
from mednext_cli.inference.engine import Engine, EngineOptions, build_engine
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import build_network
from tests.exporting.small import save_small
from tests.inference.synthetic import save_model

openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
SHAPE = (1, 1, 16, 32, 16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mednext" / "openvino"


def three_times(*_: object) -> Any:
    """A graph of a network that gives its input three times, whatever its weights."""
    from openvino import opset13

    image = opset13.parameter(list(SHAPE), name="image")
    return openvino.Model([opset13.concat([image] * 3, 1)], [image], "other")


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each conversion."""
    calls: list[int] = []

    def convert(*_: object) -> Any:
        calls.append(1)
        return three_times()

    monkeypatch.setattr(openvino_engine, "convert_network", convert)
    return calls


def open_engine(path: Path) -> Engine:
    [model] = load_models([path])
    return build_engine(
        "openvino", model.checkpoint, model.plan, EngineOptions(torch.device("cpu"))
    )


def works(engine: Engine) -> bool:
    images = torch.randn(SHAPE)
    return torch.equal(engine(images), images.expand(1, 3, -1, -1, -1))


def test_a_network_is_converted_once(
    model: Path, cache: Path, converted: list[int], tmp_path: Path
) -> None:
    for _ in range(2):
        assert works(open_engine(model))
    assert len(converted) == 1
    [kept] = cache.glob("*/*")
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    for _ in range(2):
        assert works(open_engine(model))
    assert len(converted) == 2
    assert works(open_engine(save_model(tmp_path / "other.pt", seed=1)))
    assert len(converted) == 3


def test_it_works_without_a_place_to_keep_it(
    model: Path, cache: Path, converted: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    assert works(open_engine(model))
    assert len(converted) == 1
    assert "the graph is not kept" in caplog.text


@pytest.mark.slow
def test_a_kept_graph_computes_what_a_fresh_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_small(tmp_path / "one.pt")
    images = torch.randn(SHAPE)
    fresh = open_engine(path)(images)

    def fail(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino_engine, "convert_network", fail)
    assert torch.equal(open_engine(path)(images), fresh)
    network = build_network(load_models([path])[0].checkpoint)
    with torch.inference_mode():
        torch.testing.assert_close(fresh, network(images), atol=1e-4, rtol=0)
