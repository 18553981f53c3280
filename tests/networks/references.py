"""The published network's weights and outputs, under our names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.mednext import MedNeXt
from mednext_cli.networks.weight_files import import_official

SIZES = [f"{size}_k{kernel}" for size in "SBML" for kernel in (3, 5)]
ALL = [*SIZES, "S_k3_grn", "S_k3_plain_resampling"]


@dataclass(frozen=True)
class Reference:
    """One file: a network with its weights, an input, and the outputs, full resolution first."""

    network: MedNeXt
    image: Tensor
    outputs: list[Tensor]


def folder(reference_folder: Path) -> Path:
    return reference_folder / "mednext_official"


def load_reference(reference_folder: Path, name: str) -> Reference:
    path = folder(reference_folder) / f"{name}.npz"
    network = build_network(import_official(path))
    assert isinstance(network, MedNeXt)
    with np.load(path) as file:
        outputs = [torch.from_numpy(file[key]) for key in file.files if key.startswith("output/")]
        return Reference(network, torch.from_numpy(file["input"]), outputs)
