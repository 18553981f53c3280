"""Peak memory of training and inference, by running the network without memory ("meta" tensors).

Every buffer that PyTorch would allocate is followed from birth to death, forward and backward, so
that what autograd keeps and what checkpointing frees need no formula. Not included: the allocator's
rounding, workspaces of convolutions, and the batches that wait to be used.
"""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.attention import attention_as_on


@dataclass(frozen=True)
class MemoryEstimate:
    """GiB in float32; mixed precision halves nearly all of it but the weights.

    Attributes:
        weights_gib: the weights alone.
        training_gib: one step, with its heads if it has them: weights, gradients, the optimiser's
            moments and what the backward pass needs.
        training_checkpointed_gib: the same with gradient checkpointing, if the network has that.
        inference_gib: weights and one patch of one image.
    """

    weights_gib: float
    training_gib: float
    training_checkpointed_gib: float
    inference_gib: float


def estimate_memory(
    spec: NetworkSpec,
    patch_voxels: Sequence[int],
    batch_size: int,
    moments: int = 2,
    device_type: str = "cuda",
) -> MemoryEstimate:
    """Peak memory for patches of this size.

    Args:
        spec: of the network.
        patch_voxels: size of a patch along each axis.
        batch_size: patches a training step.
        moments: numbers that the optimiser keeps of each weight: AdamW 2, SGD 1.
        device_type: where it would run, which decides what attention keeps.

    Raises:
        SettingsError: the network cannot take such a patch.
    """
    with torch.device("meta"):
        network: Any = build_plain(spec)
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
    kept = (1 + moments) * weights  # gradients are followed

    def train() -> None:
        outputs = run_all_heads(network, _image(spec, patch_voxels, batch_size), spec)
        reduce(torch.add, [output.mean() for output in outputs]).backward()  # type: ignore[no-untyped-call]

    def infer() -> None:
        with torch.no_grad():
            network(_image(spec, patch_voxels, 1))

    with attention_as_on(device_type):
        inference = _peak_bytes(infer)
        plain = _peak_bytes(train)
        network.zero_grad(set_to_none=True)
        checkpointed = plain
        if spec.family.recomputes:
            spec.family.set_checkpointing(network, True)
            checkpointed = _peak_bytes(train)
    return MemoryEstimate(
        weights_gib=weights / GIB,
        training_gib=(plain + kept) / GIB,
        training_checkpointed_gib=(checkpointed + kept) / GIB,
        inference_gib=(inference + weights) / GIB,
    )


def _image(spec: NetworkSpec, patch_voxels: Sequence[int], batch_size: int) -> Tensor:
    return torch.empty(batch_size, spec.in_channels, *patch_voxels, device="meta")


def _peak_bytes(work: Callable[[], None]) -> int:
    ledger = _Ledger()
    with ledger:
        work()
    return ledger.peak


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the storages that are alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive = 0
        self._storages: dict[int, list[int]] = {}  # bytes, tensors that share it

    def __torch_dispatch__(
        self,
        operator: Any,  # noqa: ANN401 - as torch hands it over
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = operator(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._enter(leaf)
        return result

    def _enter(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._storages:
            self._storages[key] = [storage.nbytes(), 0]
            self._alive += storage.nbytes()
            self.peak = max(self.peak, self._alive)
        self._storages[key][1] += 1
        weakref.finalize(tensor, self._leave, key)

    def _leave(self, key: int) -> None:
        size_and_users = self._storages[key]
        size_and_users[1] -= 1
        if size_and_users[1] == 0:
            self._alive -= size_and_users[0]
            del self._storages[key]
