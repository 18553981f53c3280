"""Every file of the published network's reference values."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks import cpu
from mednext_cli.networks.mednext import build
from mednext_cli.networks.official import name_map
from mednext_cli.networks.upkern import enlarge
from mednext_cli.networks.variants import architecture
from mednext_cli.networks.weight_files import import_official
from tests.networks.references import ALL, SIZES, folder, load_reference


def _assert_matches(output, expected):
    assert output.shape == expected.shape
    assert (output - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_outputs_are_the_published_ones(reference_folder, name, layout):
    reference = load_reference(reference_folder, name)
    network = reference.network.to(memory_format=layout)
    image = reference.image.to(memory_format=layout)
    deep = network.architecture.deep_supervision
    with torch.no_grad():
        outputs = network(image, deep_supervision=deep)
        single = network(image)
    assert len(reference.outputs) == (5 if deep else 1)
    for output, expected in zip(outputs if deep else [outputs], reference.outputs, strict=True):
        _assert_matches(output, expected)
    _assert_matches(single, reference.outputs[0])


@pytest.mark.parametrize("name", ["S_k3", "B_k5", "S_k3_grn", "S_k3_plain_resampling"])
def test_outputs_while_training_are_the_published_ones(reference_folder, name):
    reference = load_reference(reference_folder, name)
    _assert_matches(reference.network.train()(reference.image).detach(), reference.outputs[0])


def test_pytorchs_own_operators_give_the_published_outputs_too(reference_folder, monkeypatch):
    monkeypatch.setattr(cpu, "is_arranged", lambda x: False)
    reference = load_reference(reference_folder, "S_k3")
    with torch.no_grad():
        _assert_matches(reference.network(reference.image), reference.outputs[0])


def test_gradients_are_the_published_ones(reference_folder):
    reference = load_reference(reference_folder, "S_k3")
    with np.load(folder(reference_folder) / "S_k3_gradients.npz") as file:
        target = torch.from_numpy(file["target"])
        loss = float(file["loss"])
        expected = {key[5:]: torch.from_numpy(file[key]) for key in file.files if "grad/" in key}
    own = F.cross_entropy(reference.outputs[0], target).item()
    if abs(own - loss) > 1e-4:
        pytest.skip(
            f"the file says loss {loss:.4f}, the published output itself has {own:.4f}: its "
            "gradients belong to other weights"
        )
    F.cross_entropy(reference.network(reference.image), target).backward()
    names = name_map(reference.network.architecture)
    for name, parameter in reference.network.named_parameters():
        if names[name] in expected:
            theirs = expected[names[name]].reshape(parameter.shape)
            assert (parameter.grad - theirs).norm() <= 1e-4 * theirs.norm(), name


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("deep", [True, False])
def test_full_size_parameter_counts_are_exact(reference_folder, name, deep):
    table = json.loads((folder(reference_folder) / "parameter_counts.json").read_text())["table"]
    size, kernel = name.split("_k")
    with torch.device("meta"):
        network = build(architecture(size, int(kernel), 1, 3, deep_supervision=deep))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == table[name]["parameters_deep_supervision" if deep else "parameters"]


@pytest.mark.parametrize("name", ["upkern_S_k3_to_k5", "upkern_S_k5_to_k7"])
def test_upkern_is_the_published_one(reference_folder, tmp_path, name):
    with np.load(folder(reference_folder) / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    checkpoints = {}
    for side in ("from", "to"):
        path = tmp_path / f"{side}.npz"
        np.savez(path, **{k[len(side) + 1 :]: v for k, v in arrays.items() if k.startswith(side)})
        checkpoints[side] = import_official(path)
    enlarged, steps = enlarge(checkpoints["from"], int(name[-1]))
    assert enlarged.architecture == checkpoints["to"].architecture
    assert enlarged.state_dict.keys() == checkpoints["to"].state_dict.keys()
    for key, expected in checkpoints["to"].state_dict.items():
        assert (enlarged.state_dict[key] - expected).abs().max() <= 1e-6, key
    resampled = {step.name for step in steps if step.action == "resample"}
    assert resampled == {key for key in enlarged.state_dict if key.endswith("depthwise.weight")}
