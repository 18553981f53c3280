"""`mednext export --to openvino`: a folder with the network, whole or not there."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.exporting.folders import replacing_folder
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import build_network
from tests.exporting.small import save_small


def export(model: Path) -> int:
    return main(["export", str(model), "--to", "openvino"])


@pytest.mark.slow
def test_it_computes_any_patch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    openvino = pytest.importorskip("openvino", reason="the extra openvino is not installed")
    model = save_small(tmp_path / "one.pt")
    folder = tmp_path / "export" / "one_openvino"
    folder.mkdir(parents=True)
    (folder / "old.txt").write_text("of an earlier one")
    assert export(model) == 0
    assert f"{folder}\tlabels equal to PyTorch's in 16384 voxels" in capsys.readouterr().out
    assert sorted(file.name for file in folder.iterdir()) == ["network.bin", "network.xml"]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    core = openvino.Core()
    graph = core.read_model(folder / "network.xml")
    assert graph.get_rt_info(["mednext", "activation"]).astype(str) == "softmax"
    assert graph.input("image").get_partial_shape()[1].get_length() == 1
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    network = build_network(load_models([model])[0].checkpoint)
    for batch, lengths in ((1, (16, 32, 16)), (2, (48, 16, 32))):
        image = torch.randn(batch, 1, *lengths)
        with torch.inference_mode():
            expected = network(image).numpy()
        np.testing.assert_allclose(compiled(image.numpy())["logits"], expected, atol=1e-4)


def test_what_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert export(save_small(tmp_path / "one.pt")) == 2
    error = capsys.readouterr().err
    assert "OpenVINO is not installed" in error
    assert "pip install 'mednext[openvino]', or take --to onnx" in error
    assert list((tmp_path / "export").glob("*")) == []


def test_a_folder_stays_where_its_successor_fails(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old.txt").write_text("old")

    def fail() -> None:
        with replacing_folder(folder) as beside:
            (beside / "new.txt").write_text("half")
            raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert (folder / "old.txt").read_text() == "old"
    with replacing_folder(folder) as beside:
        (beside / "new.txt").write_text("new")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "new.txt"]
