"""Whether training fits into memory, and what to do where it does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import torch

from mednext_cli.foundation.devices import is_out_of_memory
from mednext_cli.foundation.errors import MednextError, SettingsError
from mednext_cli.foundation.machine import GIB, free_memory_bytes
from mednext_cli.networks.patches import shown_patch
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.memory import step_gib
from mednext_cli.settings.recipe import DEFAULT_NETWORK

_step_gib = cache(step_gib)
_SAFE = 0.9  # of the memory: the estimate leaves workspaces and fragments out


@dataclass(frozen=True)
class Demand:
    """What decides the memory of a training step.

    Attributes:
        network: for one that cannot be run without memory nothing is estimated.
        patch_voxels: (D, H, W).
        batch_size: patches a step.
        checkpointing: whether the forward pass is computed twice.
        dtype: of the forward pass.
        device: where it runs.
        moments: numbers that the optimiser keeps of each weight.
    """

    network: NetworkSpec
    patch_voxels: tuple[int, int, int]
    batch_size: int
    checkpointing: bool
    dtype: torch.dtype
    device: torch.device
    moments: int = 2

    @property
    def step_gib(self) -> float | None:
        """Estimated peak of a step; None where it cannot be estimated."""
        if not self.network.family.runs_without_memory:
            return None
        return _step_gib(
            self.network,
            self.patch_voxels,
            self.batch_size,
            self.moments,
            self.device.type,
            self.dtype,
            self.checkpointing,
        )

    def describe(self) -> str:
        """The step in words, with its estimate."""
        patch = shown_patch(self.patch_voxels)
        text = f"a step with patches of {patch} voxels and batch {self.batch_size}"
        name = str(self.dtype).removeprefix("torch.")
        about = f"{text} in {name} takes about"
        return text if self.step_gib is None else f"{about} {self.step_gib:.1f} GiB"


def check_memory(demand: Demand) -> None:
    """Refuse a step that the system would kill this process for; accelerators say so themselves.

    Args:
        demand: on anything but a CPU it passes, and so do networks that cannot be estimated.

    Raises:
        SettingsError: a step takes more memory than is free.
    """
    if demand.device.type != "cpu" or demand.step_gib is None:
        return
    free = free_memory_bytes() / GIB
    if demand.step_gib <= free:
        return
    raise SettingsError(
        f"{demand.describe()} of memory, {free:.1f} GiB are free", _remedy(demand, free)
    )


@contextmanager
def explained_memory(demand: Demand, doing: str) -> Iterator[None]:
    """Turn whatever error says that memory was not enough into one line with what would fit.

    Args:
        demand: of the run.
        doing: what the memory was for.

    Raises:
        MednextError: memory was not enough, on the device or the machine.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MednextError) or not is_out_of_memory(error):
            raise
        raise MednextError(
            f"{demand.device} has too little memory for {doing}; {demand.describe()}",
            _remedy(demand, _capacity_gib(demand.device)),
        ) from error


def _remedy(demand: Demand, capacity_gib: float) -> str:
    fitting = [
        f"{setting} (about {less.step_gib:.1f} GiB)"
        for setting, less in _smaller(demand)
        if less.step_gib is not None and less.step_gib <= _SAFE * capacity_gib
    ]
    if not fitting:
        halved = demand.network.patch_rule.halve(demand.patch_voxels)
        can_shrink = halved != demand.patch_voxels
        fitting = ["smaller training.patch_voxels" if can_shrink else "more memory"]
    if demand.network.name == DEFAULT_NETWORK:  # of which that recipe is
        fitting.append("or --recipe cpu")
    return f"Use {', '.join(fitting)}; mednext recipes check estimates any recipe."


def _smaller(demand: Demand) -> Iterator[tuple[str, Demand]]:
    """What takes less, by the settings to type, gentlest first; each with all before it."""
    settings: list[str] = []
    if not demand.checkpointing and demand.network.family.recomputes:
        settings.append("--set model.checkpointing=true")
        demand = replace(demand, checkpointing=True)
        yield " ".join(settings), demand
    if demand.batch_size > 1:
        settings.append("--set training.batch_size=1")
        demand = replace(demand, batch_size=1)
        yield " ".join(settings), demand
    patch = demand.network.patch_rule.halve(demand.patch_voxels)
    if patch != demand.patch_voxels:
        settings.append(f"--set 'training.patch_voxels={list(patch)}'")
        yield " ".join(settings), replace(demand, patch_voxels=patch)


def _capacity_gib(device: torch.device) -> float:
    """What this process could have at most; infinite where the device does not tell."""
    if device.type == "cpu":
        return free_memory_bytes() / GIB
    if device.type != "cuda":
        return float("inf")
    try:
        free, _ = torch.cuda.mem_get_info(device)
        return (free + torch.cuda.memory_reserved(device)) / GIB
    except RuntimeError:  # the device is past answering
        return float("inf")
