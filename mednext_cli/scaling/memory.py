"""Peak memory of training and inference, without taking any: see `dry_run`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.dry_run import DryNetwork


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB in one precision; weights, gradients and moments are float32 whatever it is.

    Attributes:
        weights_gib: the weights alone.
        training_gib: one step, with its heads if it has them: weights, gradients, the optimiser's
            moments, the loss and what the backward pass needs.
        training_checkpointed_gib: the same with gradient checkpointing, if the network has that.
        inference_gib: weights and one patch of one image.
        training_fused_gib: one step by fused operators, without checkpointing; None where there are
            none, or in float32, in which they do not run all of it.
    """

    weights_gib: float
    training_gib: float
    training_checkpointed_gib: float
    inference_gib: float
    training_fused_gib: float | None = None


def estimate_memory(
    spec: NetworkSpec,
    patch_voxels: Sequence[int],
    batch_size: int,
    moments: int = 2,
    device_type: str = "cuda",
    dtype: torch.dtype = torch.float32,
) -> MemoryEstimate:
    """Peak memory for patches of this size.

    Args:
        spec: of the network.
        patch_voxels: size of a patch along each axis.
        batch_size: patches a training step.
        moments: numbers that the optimiser keeps of each weight: AdamW 2, SGD 1.
        device_type: where it would run, which decides what attention and autocast keep.
        dtype: of autocast: bfloat16 or float16, which take the same; float32 goes without.

    Raises:
        SettingsError: the network cannot take such a patch.
    """
    network = DryNetwork(spec, device_type)
    return memory_of(network, patch_voxels, batch_size, moments, dtype)


def memory_of(
    network: DryNetwork,
    patch_voxels: Sequence[int],
    batch_size: int,
    moments: int,
    dtype: torch.dtype,
) -> MemoryEstimate:
    """The same of a network that was built before; see `estimate_memory`."""

    def training_gib(**how: bool) -> float:
        return _training_gib(network, patch_voxels, batch_size, moments, dtype, **how)

    plain = training_gib()
    less = training_gib(checkpointing=True) if network.recomputes else plain
    inference = network.infer(patch_voxels, dtype, peak_only=True).peak_bytes
    fused = None
    if dtype.itemsize == 2 and network.on_gpu and network.fuses():
        fused = training_gib(fused=True)
    return MemoryEstimate(
        weights_gib=network.weights_bytes / GIB,
        training_gib=plain,
        training_checkpointed_gib=less,
        inference_gib=(inference + network.weights_bytes) / GIB,
        training_fused_gib=fused,
    )


def step_gib(
    spec: NetworkSpec,
    patch_voxels: Sequence[int],
    batch_size: int,
    moments: int,
    device_type: str,
    dtype: torch.dtype,
    checkpointing: bool,
) -> float:
    """Of `estimate_memory`, a training step in one way alone, which takes a fraction of its time.

    Args:
        spec: of the network.
        patch_voxels: size of a patch along each axis.
        batch_size: patches a training step.
        moments: numbers that the optimiser keeps of each weight.
        device_type: see there.
        dtype: see there.
        checkpointing: gradient checkpointing, where the network has it.

    Raises:
        SettingsError: the network cannot take such a patch.
    """
    network = DryNetwork(spec, device_type)
    sizes = patch_voxels, batch_size, moments, dtype
    return _training_gib(network, *sizes, checkpointing=checkpointing)


def _training_gib(
    network: DryNetwork,
    patch_voxels: Sequence[int],
    batch_size: int,
    moments: int,
    dtype: torch.dtype,
    **how: bool,
) -> float:
    run = network.train(patch_voxels, batch_size, dtype, peak_only=True, **how)
    kept = (1 + moments) * network.weights_bytes  # gradients are followed
    return (run.peak_bytes + kept) / GIB
