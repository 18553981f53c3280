"""The published network's weights and outputs, under our names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.mednext.network import MedNeXt
from mednext_cli.networks.published import import_weights
from mednext_cli.networks.spec import NetworkSpec
from tests.places import reference_files

FOLDER = "mednext_official"
SIZES = [f"{size}_k{kernel}" for size in "SBML" for kernel in (3, 5)]
NETWORKS = reference_files(FOLDER, *SIZES, "S_k3_grn", "S_k3_plain_resampling")
_EVERY = 7  # voxel of the output at full resolution is kept in the committed files


@dataclass(frozen=True)
class Reference:
    """One file: a network with its weights, an input, and the outputs, full resolution first."""

    spec: NetworkSpec
    network: MedNeXt
    image: Tensor
    outputs: list[Tensor]


def load_reference(path: Path) -> Reference:
    checkpoint = import_weights(path)
    network = build_network(checkpoint)
    assert isinstance(network, MedNeXt)
    with np.load(path) as file:
        outputs = [torch.from_numpy(file[key]) for key in file.files if key.startswith("output/")]
        return Reference(checkpoint.network, network, torch.from_numpy(file["input"]), outputs)


def assert_matches(output: Tensor, expected: Tensor) -> None:
    """The same within rounding; `expected` is whole, or every 7th voxel as (B, K, voxels)."""
    kept = output.flatten(2)[..., ::_EVERY] if expected.ndim == 3 else output
    assert kept.shape == expected.shape
    assert (kept - expected).abs().max() <= 1e-4 * expected.abs().max()
