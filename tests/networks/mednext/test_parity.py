"""Every file of the published network's reference values."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.official import UNUSED, to_official
from mednext_cli.networks.published import import_weights
from mednext_cli.networks.upkern import enlarge
from tests.networks.made import build, mednext
from tests.networks.mednext.references import (
    FOLDER,
    NETWORKS,
    SIZES,
    assert_matches,
    load_reference,
)
from tests.places import COMMITTED, reference_files


@pytest.mark.parametrize("path", NETWORKS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_outputs_are_the_published_ones(path, layout):
    reference = load_reference(path)
    network = reference.network.to(memory_format=layout)
    image = reference.image.to(memory_format=layout)
    deep = reference.spec.deep_supervision
    with torch.no_grad():
        outputs = network(image, deep_supervision=deep)
        single = network(image)
    assert single.shape[2:] == image.shape[2:]
    assert len(reference.outputs) == (5 if deep else 1)
    for output, expected in zip(outputs if deep else [outputs], reference.outputs, strict=True):
        assert_matches(output, expected)
    assert_matches(single, reference.outputs[0])


@pytest.mark.parametrize(
    "path", reference_files(FOLDER, "S_k3", "B_k5", "S_k3_grn", "S_k3_plain_resampling")
)
def test_outputs_while_training_are_the_published_ones(path):
    reference = load_reference(path)
    assert_matches(reference.network.train()(reference.image).detach(), reference.outputs[0])


@pytest.mark.parametrize("path", reference_files(FOLDER, "S_k3"))
def test_pytorchs_own_operators_give_the_published_outputs_too(path, monkeypatch):
    monkeypatch.setattr(cpu, "is_arranged", lambda x: False)
    reference = load_reference(path)
    with torch.no_grad():
        assert_matches(reference.network(reference.image), reference.outputs[0])


@pytest.mark.parametrize("path", reference_files(FOLDER, "S_k3"))
def test_gradients_are_the_published_ones(path):
    reference = load_reference(path)
    with np.load(path.with_name("S_k3_gradients.npz")) as file:
        target = torch.from_numpy(file["target"]).long()
        loss = float(file["loss"])
        expected = {key[5:]: torch.from_numpy(file[key]) for key in file.files if "grad/" in key}
    made = F.cross_entropy(reference.network(reference.image), target)
    if abs(made.item() - loss) > 1e-4 and not path.is_relative_to(COMMITTED):
        pytest.skip(
            f"the shared file says loss {loss:.4f}, the published output has {made.item():.4f}: "
            "its gradients belong to other weights"
        )
    assert made.item() == pytest.approx(loss, abs=1e-5)
    made.backward()
    network = reference.network
    ours = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in network.named_parameters()
    }
    for name, gradient in to_official(reference.spec.settings, ours).items():
        theirs = expected.get(name, torch.zeros_like(gradient))
        # Biases in front of a normalisation of their channel have gradient 0 but for rounding;
        # the smallest of the others is 4e-4.
        allowed = max(1e-4 * theirs.norm(), 2e-7)
        assert name == UNUSED or (gradient - theirs).norm() <= allowed, name


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("deep", [True, False])
def test_full_size_parameter_counts_are_exact(name, deep):
    table = json.loads((COMMITTED / FOLDER / "parameter_counts.json").read_text())["table"]
    size, kernel = name.split("_k")
    with torch.device("meta"):
        network = build(mednext(size, int(kernel), 1, 3, deep_supervision=deep))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == table[name]["parameters_deep_supervision" if deep else "parameters"]


@pytest.mark.parametrize("path", reference_files(FOLDER, "upkern_S_k3_to_k5", "upkern_S_k5_to_k7"))
def test_upkern_is_the_published_one(path, tmp_path):
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    small, large = (
        {key.removeprefix(side): value for key, value in arrays.items() if key.startswith(side)}
        for side in ("from/", "to/")
    )
    checkpoints = {}
    # The committed file holds of the enlarged weights only those that are not the small network's.
    for side, weights in (("from", small), ("to", small | large)):
        np.savez(tmp_path / f"{side}.npz", **weights)
        checkpoints[side] = import_weights(tmp_path / f"{side}.npz")
    enlarged, steps = enlarge(checkpoints["from"], int(path.stem[-1]))
    assert enlarged.network == checkpoints["to"].network
    assert enlarged.state_dict.keys() == checkpoints["to"].state_dict.keys()
    for key, expected in checkpoints["to"].state_dict.items():
        assert (enlarged.state_dict[key] - expected).abs().max() <= 1e-6, key
    resampled = {step.name for step in steps if step.action == "grow"}
    assert resampled == {key for key in enlarged.state_dict if key.endswith("depthwise.weight")}
