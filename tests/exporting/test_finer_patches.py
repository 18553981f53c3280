"""Models of patches that PyTorch takes and exported graphs do not: multiples of 8, not of 16."""

import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.engine_choice import choose_engine
from mednext_cli.inference.models import load_models
from tests.exporting.small import save_small
from tests.inference.synthetic import PLAN

FINER = PLAN.model_copy(update={"patch_voxels": (24, 40, 16)})
HELD = PLAN.model_copy(update={"patch_voxels": (32, 48, 16)})
ENGINES = {"openvino": "openvino", "onnx": "onnxruntime"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs of tests are not kept among the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).normal(100, 20, (60, 70, 50)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 1.0, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def _labels(model: Path, scan: Path, engine: str) -> np.ndarray:
    out = scan.parent / f"{engine}_{model.stem}"
    given = ["--model", str(model), "--engine", engine, "--device", "cpu", "--out", str(out)]
    assert main(["predict", str(scan), *given]) == 0
    return np.asarray(nib.load(out / "scan.nii.gz").dataobj)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_of_graphs_take_the_next_larger_tiles(
    engine: str, tmp_path: Path, scan: Path
) -> None:
    package = ENGINES[engine]
    pytest.importorskip(package, reason=f"{package} is not installed: extras openvino, export")
    finer = save_small(tmp_path / "finer.pt", plan=FINER)
    held = save_small(tmp_path / "held.pt", plan=HELD)
    of_torch = {path.stem: _labels(path, scan, "torch") for path in (finer, held)}
    assert np.mean(of_torch["finer"] != of_torch["held"]) > 1e-3
    assert np.mean(_labels(finer, scan, engine) != of_torch["held"]) < 1e-4  # but for ties


def test_torch_is_chosen(tmp_path: Path) -> None:
    """Which computes less in such a tile, and nothing has to be measured."""
    models = load_models([save_small(tmp_path / "finer.pt", plan=FINER)])
    choice = choose_engine("auto", models, EngineOptions(torch.device("cpu")), lambda _: 10**6)
    assert (choice.name, choice.milliseconds) == ("torch", {})


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchscript", "onnx", "openvino", "monai-bundle", "safetensors"])
def test_it_is_exported_with_the_next_larger_patch(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = {"onnx": "onnxruntime", "openvino": "openvino", "monai-bundle": "monai"}
    if kind in needed:
        pytest.importorskip(needed[kind], reason=f"{needed[kind]} is not installed: extra export")
    model = save_small(tmp_path / "finer.pt", plan=FINER)
    assert main(["export", str(model), "--to", kind]) == 0, capsys.readouterr().err
    [loaded] = load_models([model])
    assert loaded.graph_patch == HELD.patch_voxels
    if kind == "torchscript":
        [program] = (tmp_path / "export").glob("*")
        with zipfile.ZipFile(program) as files:
            [name] = [one for one in files.namelist() if one.endswith("/mednext.json")]
            facts = json.loads(files.read(name))
        assert facts["patch_voxels"] == [32, 48, 16]
        assert facts["patch_multiples"] == [16, 16, 16]
