"""Checkpoints that say what cannot be: refused at once, by whoever loads them, in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.weight_files import read_weights
from tests.fuzzing import damaged_bytes, damaged_json, limits, only_ours, seeds
from tests.inference.mutations import NETWORK, PLAN, PROGRESS, RECIPE
from tests.inference.synthetic import EPOCH, predict, save_model
from tests.networks.archives import pack, read_content, repack

Capture = pytest.CaptureFixture[str]
ALL = {**NETWORK, **PLAN, **RECIPE, **PROGRESS}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "model.pt", 0)


def changed(model: Path, path: Path, change: Callable[[dict], object]) -> Path:
    content = read_content(model)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ALL)
def test_upkern_and_predict_refuse_it(
    model: Path, scans: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    path = changed(model, tmp_path / "mutant.pt", ALL[name])
    with limits():
        assert main(["upkern", "--from", str(path), "--to", "k5"]) == 2
        said = capsys.readouterr().err
        assert predict(scans, tmp_path / "out", path) == 2
    lines = [*said.splitlines(), *capsys.readouterr().err.splitlines()]
    assert len(lines) == 2, lines
    assert all("\x1b" not in line and len(line) < 500 for line in lines)
    assert not (tmp_path / "out").exists()


def test_a_whole_one_is_enlarged(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "k5.pt"
    assert main(["upkern", "--from", str(model), "--to", "k5", "--out", str(out)]) == 0
    assert load_checkpoint(out).network.kernels == (5, 5)


@pytest.mark.slow
def test_whatever_a_checkpoint_says(model: Path, tmp_path: Path) -> None:
    content, path = read_content(model), tmp_path / "mutant.pt"
    content["progress"] = {"iteration": 3, "history": [EPOCH]}
    loaders = (load_checkpoint, lambda one: load_models([one]), read_weights)
    for seed in seeds(60):
        torch.save(damaged_json(content, seed), path)
        with limits(), only_ours(seed):
            loaders[seed % 3](path)


@pytest.mark.slow
def test_whatever_a_pickle_does(model: Path, tmp_path: Path) -> None:
    from zipfile import ZipFile

    path, content = tmp_path / "mutant.pt", model.read_bytes()
    with ZipFile(model) as file:
        structure = file.read("archive/data.pkl")
    for seed in seeds(60):
        repack(content, path, **{"data.pkl": damaged_bytes(structure, seed)})
        with limits(), only_ours(seed):
            load_checkpoint(path)
        pack(path, damaged_bytes(structure[:300], seed))
        with limits(), only_ours(seed):
            read_weights(path)


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_whatever_bytes_are_in_a_file_of_weights(model: Path, tmp_path: Path, suffix: str) -> None:
    whole, path = tmp_path / f"whole{suffix}", tmp_path / f"mutant{suffix}"
    assert main(["weights", "export", str(model), "--out", str(whole)]) == 0
    content = whole.read_bytes()
    header, size = content[:4000], len(content)
    for seed in seeds(100):
        damaged = damaged_bytes(header, seed) + content[4000:]
        if seed % 2:
            damaged = content[: size - 4000] + damaged_bytes(content[size - 4000 :], seed)
        path.write_bytes(damaged)
        with limits(), only_ours(seed):
            read_weights(path)
