"""Engines and devices: the same probabilities, and one line where one is not there."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.plugins import find_plugins, load_plugin
from mednext_cli.inference.engine import build_engine, choose_engine
from mednext_cli.inference.models import load_model
from mednext_cli.inference.torch_engine import TorchEngine

PLUGIN_PACKAGES = Path(__file__).parents[1] / "plugin_packages"


def test_engines_agree(model: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    loaded = load_model(model)
    images = np.random.default_rng(0).normal(size=(2, 1, 16, 32, 16)).astype(np.float32)
    torch_made, openvino_made = (
        build_engine(name, loaded.checkpoint, loaded.plan, "cpu")(images)
        for name in ("torch", "openvino")
    )
    np.testing.assert_allclose(torch_made, openvino_made, atol=1e-4)


def test_openvino_names_what_to_install(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    load_plugin("engines", "openvino")
    command = ["predict", str(scans), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu", "--engine", "openvino"]) == 2
    assert "pip install 'mednext[openvino]'" in capsys.readouterr().err


def test_a_plugins_engine_predicts(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN_PACKAGES / "good"))
    find_plugins.cache_clear()
    command = ["predict", str(scans), "--model", str(model), "--device", "cpu"]
    options = ["--probabilities", "--cases", "oblique"]
    found = {}
    for engine in ("plain", "torch"):
        out = tmp_path / engine
        assert main([*command, "--out", str(out), "--engine", engine, *options]) == 0
        assert json.loads((out / "predict.json").read_text())["provenance"]["engine"] == engine
        found[engine] = np.load(out / "oblique_probabilities.npz")["probabilities"]
    np.testing.assert_allclose(found["plain"], found["torch"], atol=1e-3)
    find_plugins.cache_clear()


def test_auto_is_torch() -> None:
    assert choose_engine("auto") == "torch"
    assert choose_engine("mine") == "mine"


def test_devices_that_are_not_there_are_named(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(scans), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "abacus"]) == 2
    assert "no device 'abacus' on this machine. There is cpu" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_batch_too_large_for_the_device_is_halved(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model(model)
    engine = TorchEngine(loaded.checkpoint, loaded.plan, "cpu")
    images = np.random.default_rng(0).normal(size=(3, 1, 16, 32, 16)).astype(np.float32)
    whole, real, most = engine(images), engine._predict, 1

    def small(batch: np.ndarray) -> np.ndarray:
        if len(batch) > most:
            raise torch.OutOfMemoryError
        return real(batch)

    monkeypatch.setattr(engine, "_predict", small)
    np.testing.assert_allclose(engine(images), whole, atol=1e-6)
    most = 0
    with pytest.raises(SettingsError, match="too little memory for a tile"):
        engine(images)
