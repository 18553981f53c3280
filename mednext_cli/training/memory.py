"""Whether a training step fits into this machine's memory."""

from collections.abc import Sequence

import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.machine import GIB, free_memory_bytes
from mednext_cli.networks.architecture import Architecture
from mednext_cli.scaling.memory import estimate_memory


def check_memory(
    architecture: Architecture,
    patch_voxels: Sequence[int],
    batch_size: int,
    checkpointing: bool,
    device: torch.device,
) -> None:
    """Refuse a step that the system would kill this process for; accelerators say so themselves.

    Args:
        architecture: of the network.
        patch_voxels: size of a patch.
        batch_size: patches a step.
        checkpointing: whether activations are computed again in the backward pass.
        device: where to train; anything but the CPU passes, and so do networks of plugins.

    Raises:
        SettingsError: a step takes more memory than is free.
    """
    if device.type != "cpu" or architecture.network != Architecture.network:
        return
    estimate = estimate_memory(architecture, patch_voxels, batch_size)
    needed = estimate.training_checkpointed_gib if checkpointing else estimate.training_gib
    free = free_memory_bytes() / GIB
    if needed <= free:
        return
    fits = not checkpointing and estimate.training_checkpointed_gib <= free
    switch = f"--set model.checkpointing=true ({estimate.training_checkpointed_gib:.1f} GiB), "
    raise SettingsError(
        f"a step with patches of {' x '.join(map(str, patch_voxels))} voxels and batch "
        f"{batch_size} takes about {needed:.1f} GiB of memory, {free:.1f} GiB are free",
        f"Use {switch if fits else ''}smaller training.patch_voxels, or --recipe cpu.",
    )
