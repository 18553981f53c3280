"""Whether a training step fits into this machine's memory."""

from collections.abc import Sequence

import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.machine import GIB, free_memory_bytes
from mednext_cli.networks.architecture import Architecture
from mednext_cli.scaling.memory import estimate_memory
from mednext_cli.training.state import TrainingState


def check_memory(state: TrainingState, patch_voxels: Sequence[int], batch_size: int) -> None:
    """Refuse a step that the system would kill this process for; accelerators say so themselves.

    Args:
        state: of the run; on anything but a CPU it passes, and so do networks of plugins.
        patch_voxels: size of a patch along D, H, W.
        batch_size: patches a step.

    Raises:
        SettingsError: a step takes more memory than is free.
    """
    on_cpu = next(state.network.parameters()).device.type == "cpu"
    if not on_cpu or state.architecture.network != Architecture.network:
        return
    estimate = estimate_memory(state.architecture, patch_voxels, batch_size)
    share = state.precision.dtype.itemsize / torch.float32.itemsize  # of what is in float32
    with_checkpointing = share * estimate.training_checkpointed_gib
    checkpointing = state.recipe.model.checkpointing
    needed = with_checkpointing if checkpointing else share * estimate.training_gib
    free = free_memory_bytes() / GIB
    if needed <= free:
        return
    fits = not checkpointing and with_checkpointing <= free
    switch = f"--set model.checkpointing=true ({with_checkpointing:.1f} GiB), "
    raise SettingsError(
        f"a step with patches of {' x '.join(map(str, patch_voxels))} voxels and batch "
        f"{batch_size} takes about {needed:.1f} GiB of memory, {free:.1f} GiB are free",
        f"Use {switch if fits else ''}smaller training.patch_voxels, or --recipe cpu.",
    )
