"""What the published code of the baselines computes: weights, an image, outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.published import import_weights
from mednext_cli.networks.spec import NetworkSpec
from tests.places import shared_reference


@dataclass(frozen=True)
class Reference:
    """A network with published weights, what went in and what came out."""

    spec: NetworkSpec
    network: nn.Module
    image: Tensor
    outputs: list[Tensor]


def reference_file(name: str) -> Path:
    """The file of that name; the test is skipped where it is not at hand."""
    folder = shared_reference()
    path = (folder or Path()) / "baselines" / f"{name}.npz"
    if folder is None or not path.is_file():
        pytest.skip("the reference values of the baselines are not beside the real data")
    return path


def load_reference(name: str, network: str, said: Mapping[str, Any]) -> Reference:
    """The file's network through `import_weights`."""
    path = reference_file(name)
    checkpoint = import_weights(path, network, said)
    with np.load(path) as file:
        count = sum(key.startswith("output/") for key in file.files)
        outputs = [torch.from_numpy(file[f"output/{index}"]) for index in range(count)]
        image = torch.from_numpy(file["input"])
    return Reference(checkpoint.network, build_network(checkpoint), image, outputs)


def assert_matches(outputs: list[Tensor], expected: list[Tensor], tolerance: float = 1e-4) -> None:
    """As many, and each the same within `tolerance` of its largest value."""
    assert len(outputs) == len(expected)
    for output, wanted in zip(outputs, expected, strict=True):
        assert output.shape == wanted.shape
        assert (output - wanted).abs().max() <= tolerance * wanted.abs().max()


def of_early_monai(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As MONAI saved them before 2022: each residual block has a shortcut, used or not."""
    first = ".conv1.conv.weight"
    added = {
        name.replace(first, ".conv3.conv.weight"): torch.ones(*value.shape[:2], 1, 1, 1)
        for name, value in weights.items()
        if name.endswith(first) and value.shape[0] == value.shape[1]
    }
    assert added
    assert added.keys().isdisjoint(weights)
    return {**weights, **added}


def assert_round_trip(
    name: str, network: str, said: Mapping[str, Any], folder: Path, beside: tuple[str, ...] = ()
) -> None:
    """In and out again by the commands: the same names, the same numbers.

    Args:
        name: of the file.
        network: of the family.
        said: of its settings.
        folder: an empty one.
        beside: parts of names that are written, though the file does not hold them.
    """
    from mednext_cli.app import main

    source, checkpoint, target = reference_file(name), folder / "ours.pt", folder / "theirs.npz"
    options = [f"--set={key}={value}" for key, value in said.items()]
    imported = ["weights", "import", str(source), "--network", network, *options]
    assert main([*imported, "--out", str(checkpoint)]) == 0
    assert main(["weights", "export", str(checkpoint), "--out", str(target)]) == 0
    with np.load(source) as theirs, np.load(target) as ours:
        published = {
            key.split("/", 1)[1]: theirs[key]
            for key in theirs.files
            if key.startswith(("param/", "buffer/"))
        }
        added = {key for key in ours.files if any(part in key for part in beside)}
        assert set(ours.files) - added == set(published)
        for key, value in published.items():
            np.testing.assert_array_equal(ours[key], value)
