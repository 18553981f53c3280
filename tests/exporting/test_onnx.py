"""`mednext export --to onnx`: a graph that computes what PyTorch does, or no file at all."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.exporting.checking import TOLERANCE, compare, make_image
from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import build_network
from tests.docs import scenes
from tests.exporting.graphs import other_graph
from tests.exporting.small import save_small, shallow_spec

onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra export is not installed")


def export(model: Path, *options: str) -> int:
    return main(["export", str(model), "--to", "onnx", *options])


def run(path: Path, image: np.ndarray) -> np.ndarray:
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": image})[0]


@pytest.mark.slow
def test_it_computes_any_patch_and_says_how_to_use_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_small(tmp_path / "run" / "one.pt")
    assert export(model) == 0
    path = tmp_path / "run" / "export" / "one.onnx"
    assert f"{path}\tlabels equal to PyTorch's in 16384 voxels" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    graph = onnx.load(path)
    onnx.checker.check_model(graph)
    assert [(one.domain, one.version) for one in graph.opset_import] == [("", 21)]
    assert "GroupNormalization" in {node.op_type for node in graph.graph.node}
    axes = [
        one.dim_param or one.dim_value for one in graph.graph.input[0].type.tensor_type.shape.dim
    ]
    assert axes == ["batch", 1, "16*depth", "16*height", "16*width"]
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert facts["activation"] == "softmax"
    assert json.loads(facts["spacing_mm"]) == [2.0, 2.0, 2.0]
    assert json.loads(facts["normalisation"])[0]["scheme"] == "z_score"
    assert [output["name"] for output in json.loads(facts["outputs"])] == [
        "background", "kidney", "tumour"
    ]  # fmt: skip
    network = build_network(load_models([model])[0].checkpoint)
    for batch, lengths in ((1, (16, 32, 16)), (3, (32, 16, 48)), (2, (64, 32, 16))):
        image = torch.randn(batch, 1, *lengths)
        with torch.inference_mode():
            expected = network(image).numpy()
        np.testing.assert_allclose(run(path, image.numpy()), expected, atol=1e-4)


@pytest.mark.slow
def test_a_trained_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scenes.trained()
    capsys.readouterr()
    assert export(Path("runs/kits19/S-k3/fold0"), "--out", "out") == 0
    assert "labels equal to PyTorch's" in capsys.readouterr().out
    path = tmp_path / "out" / "checkpoint_last.onnx"
    [model] = load_models([Path("runs/kits19/S-k3/fold0")])
    image = make_image(model.checkpoint.network, model.plan.patch_voxels, seed=9)
    with torch.inference_mode():
        expected = build_network(model.checkpoint)(image).numpy()
    found = run(path, image.numpy())
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))


def test_a_graph_of_something_else_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save_small(tmp_path / "one.pt")
    monkeypatch.setattr("mednext_cli.exporting.onnx.build_graph", lambda *_: other_graph())
    old = tmp_path / "export" / "one.onnx"
    old.parent.mkdir()
    old.write_bytes(b"the old file")
    assert export(model) == 2
    error = capsys.readouterr().err
    assert f"{old} is not kept: its labels differ from PyTorch's in" in error
    assert len([line for line in error.splitlines() if line.startswith("error")]) == 1
    assert old.read_bytes() == b"the old file"
    assert list(old.parent.iterdir()) == [old]


def test_what_cannot_be_exported_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        try:
            raise NotImplementedError("no such operator\nand a page more")
        except NotImplementedError as error:
            raise RuntimeError("step 1/3 failed") from error

    monkeypatch.setattr(torch.onnx, "export", refuse)
    assert export(save_small(tmp_path / "one.pt")) == 2
    error = capsys.readouterr().err
    assert "the network mednext cannot be exported to ONNX: NotImplementedError: no such" in error
    assert "a page more" not in error
    assert not list((tmp_path / "export").glob("*"))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_what_is_not_installed_is_named(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert export(save_small(tmp_path / "one.pt")) == 2
    error = capsys.readouterr().err
    assert f"ONNX needs {package}, which is not installed" in error
    assert "pip install 'mednext[export]'" in error


def test_a_comparison_counts_labels_and_measures_logits() -> None:
    image = torch.tensor([3.0, -1.0, 0.5, -4.0]).reshape(1, 1, 1, 2, 2)
    twice = torch.nn.Conv3d(1, 2, 1)
    with torch.no_grad():
        twice.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1))
        twice.bias.zero_()
    own = twice(image).detach().numpy()
    for off, labels, difference in ((0.0, 0, 0.0), (0.001, 0, 0.00025), (1.2, 1, 0.3)):
        shifted = own + np.array([-off, 0], np.float32).reshape(1, 2, 1, 1, 1)
        found = compare(twice, lambda _, shifted=shifted: shifted, [image], "softmax")
        assert (found.voxels, found.other_labels) == (4, labels)
        assert found.difference == pytest.approx(difference, abs=1e-6)
    found = compare(twice, lambda _: own + np.float32(0.6), [image], "sigmoid")
    assert (found.voxels, found.other_labels) == (8, 1)
    tied = own.copy()
    tied[0, :, 0, 0, 0] = (1, 1 - 2e-6)  # of 4: as good as equal
    near = tied + np.array([0, 1e-5], np.float32).reshape(1, 2, 1, 1, 1)
    twice.forward = lambda _: torch.from_numpy(tied)
    found = compare(twice, lambda _: near, [image], "softmax")
    assert (found.other_labels, found.ties) == (0, 1)
    assert found.difference == pytest.approx(2.5e-6, rel=0.1)
    found = compare(twice, lambda _: tied, [image], "softmax")
    assert (found.other_labels, found.ties, found.difference) == (0, 0, 0)
    found = compare(twice, lambda _: own[:, :1], [image], "softmax")
    assert found.other_labels == found.voxels


def test_an_image_is_made_anew_the_same() -> None:
    spec = shallow_spec()
    first, again, other = (make_image(spec, (16, 32, 16), seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert TOLERANCE < 1e-3
