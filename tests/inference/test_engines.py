"""Engines and devices: the same probabilities, and one line where one is not there."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.plugins import find_plugins, load_plugin
from mednext_cli.inference.engine import Activation, EngineOptions, build_engine
from mednext_cli.inference.models import load_models
from mednext_cli.inference.tiles import activate, predict_tiles
from mednext_cli.inference.torch_engine import TorchEngine
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.mednext.family import MedNeXtFamily
from mednext_cli.settings.labels import labels_in_order
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.settings.sections import Precision
from tests.inference.synthetic import probabilities
from tests.networks.small_networks import SMALL, small_image, small_spec

CPU = torch.device("cpu")
PLUGIN_PACKAGES = Path(__file__).parents[1] / "plugin_packages"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of tests are not kept among the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def make_tiles(count: int) -> Tensor:
    return torch.randn(count, 1, 16, 32, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("gain", "precision"), [(2.5, "auto"), (None, "auto"), (2.5, "float32")])
def test_the_log_says_what_bfloat16_would_bring(
    gain: float | None,
    precision: Precision,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where the processor has it and nobody chose; the network stays in float32."""
    monkeypatch.setattr(MedNeXtFamily, "bfloat16_gain", lambda *_: gain)
    caplog.set_level("INFO")
    [loaded] = load_models([model])
    engine = TorchEngine(loaded.checkpoint, loaded.plan, EngineOptions(CPU, "auto", precision))
    told = "2.5 times as fast here in bfloat16" in caplog.text
    assert told == (gain is not None and precision == "auto")
    with torch.inference_mode():
        assert engine(make_tiles(1)).dtype is torch.float32


@pytest.mark.slow
def test_engines_agree(model: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    [loaded] = load_models([model])
    images, options = make_tiles(2), EngineOptions(CPU)
    made = {}
    with torch.inference_mode():
        for name in ("torch", "openvino"):
            engine = build_engine(name, loaded.checkpoint, loaded.plan, options)
            made[name] = torch.stack(predict_tiles(engine, images, 3))
    torch.testing.assert_close(made["torch"], made["openvino"], atol=1e-4, rtol=0)


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
        found[engine] = probabilities(out, "oblique")
    np.testing.assert_allclose(found["plain"], found["torch"], atol=1e-3)
    find_plugins.cache_clear()


def test_a_precision_is_taken_or_refused(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(scans / "oblique.nii.gz"), "--model", str(model), "--device", "cpu"]
    found = {}
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        options = ["--out", str(out), "--precision", precision, "--probabilities"]
        assert main([*command, *options]) == 0
        record = json.loads((out / "predict.json").read_text())
        assert record["provenance"]["precision"] == precision
        found[precision] = probabilities(out, "oblique")
    np.testing.assert_allclose(found["float32"], found["bfloat16"], atol=0.05)
    assert (found["float32"] != found["bfloat16"]).any()
    assert main([*command, "--out", str(tmp_path / "other"), "--precision", "float16"]) == 2
    assert "float16 does not work on the CPU" in capsys.readouterr().err


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
    [loaded] = load_models([model])
    engine = TorchEngine(loaded.checkpoint, loaded.plan, EngineOptions(CPU))
    tiles = make_tiles(3)
    whole, real, most = predict_tiles(engine, tiles, 3), TorchEngine.__call__, 1

    def small(engine: TorchEngine, batch: Tensor) -> Tensor:
        if len(batch) > most:
            raise torch.OutOfMemoryError
        return real(engine, batch)

    monkeypatch.setattr(TorchEngine, "__call__", small)
    torch.testing.assert_close(predict_tiles(engine, tiles, 3), whole, atol=1e-6, rtol=0)
    most = 0
    with pytest.raises(SettingsError, match="too little memory for a tile"):
        predict_tiles(engine, tiles, 3)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_become_probabilities(activation: Activation) -> None:
    logits = torch.randn(2, 3, 4, 5, 6, dtype=torch.bfloat16)
    exponent = np.exp(logits.double().numpy())
    over_classes = exponent / exponent.sum(1, keepdims=True)
    expected = over_classes if activation == "softmax" else exponent / (1 + exponent)
    made = torch.stack([activate(one, activation) for one in logits])
    assert made.dtype is torch.float32
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_precision_of_the_forward_pass(model: Path, precision: Precision) -> None:
    [loaded] = load_models([model])
    options = EngineOptions(CPU, precision=precision)
    engine = TorchEngine(loaded.checkpoint, loaded.plan, options)
    with torch.inference_mode():
        assert engine(make_tiles(1)).dtype is getattr(torch, precision)


def test_half_precision_on_a_cpu_is_refused(model: Path) -> None:
    [loaded] = load_models([model])
    with pytest.raises(SettingsError, match="float16 does not work on the CPU"):
        TorchEngine(loaded.checkpoint, loaded.plan, EngineOptions(CPU, precision="float16"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL))
def test_openvino_takes_every_network(name: str) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    spec, images = replace(small_spec(name), deep_supervision=False), small_image(name)
    torch.manual_seed(0)
    network = build_plain(spec).eval()
    plan = Plan(
        dataset="test",
        layout="msd",
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=SMALL[name].patch,
        batch_size=1,
        channels=("CT",),
        normalisation=(ChannelNormalisation(scheme="none"),),
        label_set=labels_in_order("ball,box"),
    )
    checkpoint = Checkpoint(spec, network.state_dict(), plan)
    engine = build_engine("openvino", checkpoint, plan, EngineOptions(CPU))
    with torch.no_grad():
        torch.testing.assert_close(engine(images), network(images), rtol=1e-3, atol=1e-4)
