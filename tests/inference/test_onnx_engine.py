"""The engine onnx: what torch predicts, from a graph that is exported once."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.engine import Engine, EngineOptions, build_engine
from mednext_cli.inference.models import load_models
from mednext_cli.inference.onnx_engine import OnnxEngine
from tests.exporting.graphs import other_graph
from tests.exporting.small import save_small
from tests.inference.synthetic import save_model

pytest.importorskip("onnx", reason="the extra export is not installed")
pytest.importorskip("onnxruntime", reason="the extra export is not installed")
CPU = EngineOptions(torch.device("cpu"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mednext" / "onnx"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each graph that is made; they give the image three times."""
    calls: list[int] = []

    def build(*_: object) -> object:
        calls.append(1)
        return other_graph()

    monkeypatch.setattr("mednext_cli.inference.onnx_engine.build_graph", build)
    return calls


def open_engine(path: Path, options: EngineOptions = CPU) -> Engine:
    [model] = load_models([path])
    return build_engine("onnx", model.checkpoint, model.plan, options)


def works(engine: Engine) -> bool:
    images = torch.randn(2, 1, 16, 32, 16)
    return torch.equal(engine(images), images.expand(2, 3, -1, -1, -1))


def test_a_graph_is_made_once(model: Path, cache: Path, built: list[int], tmp_path: Path) -> None:
    assert works(open_engine(model))
    assert works(open_engine(model))
    assert len(built) == 1
    [kept] = cache.glob("*/*.sealed")
    kept.write_bytes(kept.read_bytes()[:50])
    assert works(open_engine(model))
    assert works(open_engine(model))
    assert len(built) == 2
    assert works(open_engine(save_model(tmp_path / "other.pt", seed=1)))
    assert len(built) == 3
    assert len(list(cache.glob("*/*.sealed"))) == 2


def test_it_works_without_a_place_to_keep_it(
    model: Path, cache: Path, built: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder would be")
    assert works(open_engine(model))
    assert len(built) == 1
    assert "the graph is not kept" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (EngineOptions(torch.device("meta")), "computes on the CPU, not on meta"),
        (
            EngineOptions(torch.device("cpu"), precision="bfloat16"),
            "computes in float32, not in bfloat16",
        ),
    ],
)
def test_what_it_cannot_is_refused(model: Path, options: EngineOptions, said: str) -> None:
    [loaded] = load_models([model])
    with pytest.raises(SettingsError, match=said):
        OnnxEngine(loaded.checkpoint, loaded.plan, options)


@pytest.mark.slow
def test_label_maps_are_those_of_torch(tmp_path: Path, scans: Path) -> None:
    model = save_small(tmp_path / "one.pt")
    maps: dict[str, list[np.ndarray]] = {}
    for engine in ("torch", "onnx"):
        out = tmp_path / engine
        command = ["predict", str(scans), "--model", str(model), "--out", str(out)]
        options = ["--engine", engine, "--device", "cpu", "--workers", "0"]
        assert main([*command, *options]) == 0
        maps[engine] = [np.asarray(nib.load(path).dataobj) for path in sorted(out.glob("*.nii.gz"))]
    assert len(maps["torch"]) == len(maps["onnx"]) == 3
    voxels = sum(one.size for one in maps["torch"])
    differing = sum(
        int((one != other).sum()) for one, other in zip(maps["torch"], maps["onnx"], strict=True)
    )
    assert len(np.unique(maps["torch"][0])) > 1
    assert differing <= voxels / 10_000
