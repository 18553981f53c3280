"""The smallest MedNeXt there is, which PyTorch's exporters take seconds for."""

from pathlib import Path

import torch

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.spec import NetworkSpec, describe_network
from mednext_cli.settings.plan import Plan
from tests.inference.synthetic import PLAN

SHALLOW = {"base_channels": 4, "blocks": (1,) * 9, "expansion": (2,) * 9}


def shallow_spec(deep_supervision: bool = True) -> NetworkSpec:
    """With one block a stage."""
    return describe_network("mednext", 1, 3, deep_supervision, kernel=3, **SHALLOW)


def save_small(path: Path, spec: NetworkSpec | None = None, plan: Plan = PLAN) -> Path:
    """An untrained network as a checkpoint."""
    torch.manual_seed(0)
    spec = shallow_spec() if spec is None else spec
    save_checkpoint(path, Checkpoint(spec, build_plain(spec).state_dict(), plan=plan))
    return path
