"""Who chooses the operators, and what the choice changes."""

import copy

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.choice import choose_network
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.measure import made_up_plan
from mednext_cli.training.starting import Setup, build_state
from tests.networks.made import build, mednext


def test_auto_on_the_cpu_is_stock():
    network = build(mednext("S", 3, 1, 2, 2))
    image = torch.randn(1, 1, 16, 16, 32)
    auto = network(image)
    network.operators = "stock"
    assert torch.equal(network(image), auto)


def test_fused_without_a_gpu_is_an_error(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    network = build(mednext("S", 3, 1, 2, 2))
    network.operators = "fused"
    with pytest.raises(SettingsError, match="needs an NVIDIA GPU"):
        network(torch.randn(1, 1, 16, 16, 32))


@pytest.mark.parametrize(
    ("model", "precision", "again"),
    [
        ({}, "bfloat16", True),
        ({"operators": "fused"}, "bfloat16", False),
        ({"operators": "fused"}, "float32", True),
        ({"operators": "fused", "checkpointing": True}, "bfloat16", True),
        ({"operators": "fused", "checkpointing": False}, "bfloat16", False),
    ],
)
def test_fused_in_half_precision_needs_no_checkpointing(model, precision, again):
    """Of M, which is published with it."""
    small = {"size": "M", "base_channels": 2}
    recipe = Recipe.model_validate(
        {"model": {**model, "mednext": small}, "training": {"precision": precision}}
    )
    setup = Setup(recipe, choose_network(recipe.model), made_up_plan(1, 2), torch.device("cpu"))
    state = build_state(setup, Origin())
    assert state.checkpointing is state.network.checkpointing is again


def test_unknown_choices_are_errors(tmp_path, capsys):
    with pytest.raises(SettingsError, match="unknown operators"):
        build(mednext("S", 3, 1, 2, 2)).operators = "fast"
    common = ["--cache", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main(["train", "nothing", *common, "--operators", "fast"]) == 2
    assert "Invalid value for '--operators'" in capsys.readouterr().err
    common = [str(tmp_path), "--model", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["predict", *common, "--operators", "fast"]) == 2
    assert "Invalid value for '--operators'" in capsys.readouterr().err


def _hippocampus(folder):
    """Scans and labels, (32, 48, 32) voxels about their centres."""
    import nibabel

    for scan in sorted((folder / "Task04_Hippocampus" / "imagesTr").glob("hippo*.nii.gz"))[:16]:
        label = scan.parents[1] / "labelsTr" / scan.name
        pair = []
        for file in (scan, label):
            array = np.asarray(nibabel.load(file).dataobj, dtype=np.float32)
            wide = np.pad(array, 24, mode="edge" if file is scan else "constant")
            starts = [
                (size - want) // 2 for size, want in zip(wide.shape, (32, 48, 32), strict=True)
            ]
            i, j, k = starts
            pair.append(torch.from_numpy(wide[i : i + 32, j : j + 48, k : k + 32].copy()))
        image = (pair[0] - pair[0].mean()) / pair[0].std()
        yield image[None, None].cuda(), pair[1][None].long().cuda()


@pytest.mark.gpu
@pytest.mark.slow
def test_200_iterations_on_the_hippocampus_end_at_the_same_loss(data_folder):
    cases = list(_hippocampus(data_folder))
    torch.manual_seed(0)
    stock = build(mednext("S", 3, 1, 3)).cuda()
    ends = []
    for network, operators in ((copy.deepcopy(stock), "fused"), (stock, "stock")):
        network.operators = operators
        optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
        losses = []
        for step in range(200):
            image, label = cases[step % len(cases)]
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(image), label)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        ends.append(np.mean(losses[-len(cases) :]))
    assert abs(ends[0] - ends[1]) < 0.02 * ends[1]


@pytest.mark.gpu
def test_float32_on_a_gpu_is_not_tf32():
    torch.manual_seed(0)
    image, weight = torch.randn(1, 64, 8, 8, 8, device="cuda"), torch.randn(64, 64, 3, 3, 3).cuda()
    found = torch.nn.functional.conv3d(image, weight)
    exact = torch.nn.functional.conv3d(image.double(), weight.double())
    assert (found - exact).norm() < 1e-5 * exact.norm()
