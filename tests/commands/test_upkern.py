"""`mednext upkern` through the command line."""

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mednext_cli.settings.recipe import ModelSettings, Recipe
from tests.networks.made import build, mednext


@pytest.fixture
def k3(tmp_path):
    path = tmp_path / "k3.pt"
    description = mednext("S", 3, 1, 2, 2)
    recipe = Recipe(model=ModelSettings(mednext={"kernel": 3}))
    network = build(description)
    save_checkpoint(path, Checkpoint(description, network.state_dict(), recipe=recipe))
    return path


def test_the_result_lies_beside_the_source_and_is_shown(k3, capsys):
    assert main(["upkern", "--from", str(k3), "--to", "k5"]) == 0
    result = load_checkpoint(k3.with_name("k3_upkern_k5.pt"))
    assert result.network.kernels == (5, 5)
    assert result.recipe.model.table["kernel"] == 5
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tensor\tfrom\tto"
    assert "bottleneck.0.depthwise.weight\t32 x 1 x 3 x 3 x 3\t32 x 1 x 5 x 5 x 5" in lines
    assert lines[-1].endswith("k3_upkern_k5.pt: 26 kernels grown (trilinear), 210 tensors copied")


def test_from_three_to_seven_in_one_go(k3, tmp_path):
    out = tmp_path / "folder" / "large.pt"
    assert main(["upkern", "--from", str(k3), "--to", "7", "--out", str(out)]) == 0
    assert load_checkpoint(out).network.kernels == (7, 7)


def test_another_way_to_grow_stands_in_the_name(k3):
    assert main(["upkern", "--from", str(k3), "--to", "k5", "--growth", "centre"]) == 0
    kernels = load_checkpoint(k3.with_name("k3_upkern_k5_centre.pt")).state_dict
    assert not kernels["bottleneck.0.depthwise.weight"][..., 0].any()


@pytest.mark.parametrize(
    ("kernel", "reason"),
    [
        ("k3", "not larger"),
        ("k1", "at least 3"),
        ("k4", "odd"),
        ("large", "not a kernel"),
    ],
)
def test_refusals_are_one_line_and_write_nothing(k3, capsys, kernel, reason):
    assert main(["upkern", "--from", str(k3), "--to", kernel]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert reason in captured.err
    assert [one.name for one in k3.parent.iterdir()] == ["k3.pt"]


@pytest.mark.parametrize("kind", ["missing", "truncated", "foreign"])
def test_broken_files_are_refused(k3, capsys, kind):
    if kind == "missing":
        k3.unlink()
    elif kind == "truncated":
        k3.write_bytes(k3.read_bytes()[:1000])
    else:
        torch.save({"state_dict": {"a": torch.zeros(1)}}, k3)
    assert main(["upkern", "--from", str(k3), "--to", "k5"]) == 2
    captured = capsys.readouterr()
    assert "k3.pt" in captured.err
    assert len(captured.err.splitlines()) == 1


def test_the_source_is_not_overwritten(k3, capsys):
    before = k3.read_bytes()
    assert main(["upkern", "--from", str(k3), "--to", "k5", "--out", str(k3)]) == 2
    assert "is the checkpoint to read" in capsys.readouterr().err
    assert k3.read_bytes() == before
