"""A network run on PyTorch's device "meta": what it would take, found out without memory.

Every buffer that PyTorch would allocate is followed from birth to death, forward and backward, so
that what autograd keeps and what checkpointing frees need no formula. Not included: the allocator's
rounding, workspaces of convolutions, and the batches that wait to be used.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.pretending import pretending
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.attention import attention_as_on
from mednext_cli.scaling.autocast import AutocastAs
from mednext_cli.scaling.ledger import Ledger, Operation

_Context = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Run:
    """What one run takes.

    Attributes:
        peak_bytes: of activations, gradients and half copies of weights; without the weights.
        work: how often each operation is done.
    """

    peak_bytes: int
    work: Counter[Operation]

    @property
    def operations(self) -> int:
        """Additions and multiplications, norms and activations left out."""
        return sum(one.operations * times for one, times in self.work.items())


class DryNetwork:
    """A network without memory.

    Args:
        spec: of a family that runs without memory.
        device_type: where it would run: "cpu", or anything else for a GPU; decides what attention
            and autocast keep.

    Attributes:
        module: the network itself, on the device "meta".
        on_gpu: whether it would run on a GPU.
        recomputes: whether it has gradient checkpointing.
        parameters: numbers that are trained.
        weights_bytes: of all parameters.
    """

    def __init__(self, spec: NetworkSpec, device_type: str = "cuda") -> None:
        self._spec, self._device_type = spec, device_type
        self.on_gpu = device_type == "cuda"
        with torch.device("meta"):
            self.module: Any = build_plain(spec)
        self.recomputes = spec.family.recomputes
        weights = list(self.module.parameters())
        self.parameters = sum(one.numel() for one in weights if one.requires_grad)
        self.weights_bytes = sum(one.numel() * one.element_size() for one in weights)

    def infer(
        self,
        patch_voxels: Sequence[int],
        dtype: torch.dtype = torch.float32,
        all_heads: bool = False,
        peak_only: bool = False,
    ) -> Run:
        """One patch of one image, without gradients.

        Args:
            patch_voxels: (D, H, W).
            dtype: of autocast; float32 goes without.
            all_heads: with those of lower resolutions.
            peak_only: in half the time, where nobody reads the work of operators of its own.

        Raises:
            SettingsError: the network cannot take such a patch.
        """

        def work(autocast: _Context) -> None:
            image = self._images(patch_voxels, 1)
            with torch.no_grad(), autocast():
                if all_heads:
                    run_all_heads(self.module, image, self._spec)
                else:
                    self.module(image)

        return self._followed(work, dtype, peak_only)

    def train(
        self,
        patch_voxels: Sequence[int],
        batch_size: int,
        dtype: torch.dtype = torch.float32,
        checkpointing: bool = False,
        fused: bool = False,
        peak_only: bool = False,
    ) -> Run:
        """Forward, loss and backward of a batch; the optimiser is left out.

        Args:
            patch_voxels: (D, H, W).
            batch_size: patches.
            dtype: of autocast; float32 goes without.
            checkpointing: gradient checkpointing, where the network has it.
            fused: by the family's fused operators, of which the work is not known, only the memory.
            peak_only: see `infer`.

        Raises:
            SettingsError: the network cannot take such a patch.
        """

        def work(autocast: _Context) -> None:
            images = self._images(patch_voxels, batch_size)
            with autocast():
                outputs = run_all_heads(self.module, images, self._spec)
            _backward(segmentation_loss(outputs))

        if self.recomputes:
            self._spec.family.set_checkpointing(self.module, checkpointing)
        run = self._fused(work, dtype) if fused else self._followed(work, dtype, peak_only)
        self.module.zero_grad(set_to_none=True)
        return run

    def fuses(self) -> bool:
        """Whether fused operators run what takes the most memory, on a GPU that can."""
        if not self._spec.family.fuses:
            return False
        with self._by_fused_operators(torch.bfloat16):
            return self._spec.family.keeps_little(self.module)

    @contextmanager
    def _by_fused_operators(self, dtype: torch.dtype) -> Iterator[None]:
        choose, meta = self._spec.family.set_operators, torch.device("meta")
        with pretending(self._device_type, dtype, fused=True):
            choose(self.module, "fused", meta)
            try:
                yield
            finally:
                choose(self.module, "auto", meta)

    def _fused(self, work: Callable[[_Context], None], dtype: torch.dtype) -> Run:
        with self._by_fused_operators(dtype):
            return self._follow(work, dtype)

    def run_watched(self, patch_voxels: Sequence[int], begin: Callable[[Tensor], None]) -> None:
        """One patch of one image under the modes that are on; `begin` is given the image."""
        image = self._images(patch_voxels, 1)
        begin(image)
        self.module(image)

    def _images(self, patch_voxels: Sequence[int], batch_size: int) -> Tensor:
        return torch.empty(batch_size, self._spec.in_channels, *patch_voxels, device="meta")

    def _followed(
        self, work: Callable[[_Context], None], dtype: torch.dtype, peak_only: bool
    ) -> Run:
        """What it takes on the device; of operators of a network's own, the usual ones' work."""
        half = None if dtype is torch.float32 else dtype
        with pretending(self._device_type, half) as pretence:
            run = self._follow(work, dtype)
        if peak_only or not pretence.heeded:
            return run
        self.module.zero_grad(set_to_none=True)
        return replace(run, work=self._follow(work, dtype).work)

    def _follow(self, work: Callable[[_Context], None], dtype: torch.dtype) -> Run:
        ledger = Ledger()
        half = None if dtype is torch.float32 else AutocastAs(self._device_type, dtype)

        @contextmanager
        def autocast() -> Iterator[None]:
            yield
            if half is not None:
                half.forget()

        # The mode stays on for the backward pass, where checkpointing computes activations again.
        with attention_as_on(self._device_type), half or nullcontext(), ledger:
            work(autocast)
        return Run(ledger.peak_bytes, ledger.work)


def segmentation_loss(outputs: Sequence[Tensor]) -> Tensor:
    """A loss that keeps as much as Dice and cross entropy do, in float32.

    Args:
        outputs: logits (B, K, D, H, W), as they are trained.
    """
    losses = []
    for logits in outputs:
        logarithms = logits.float().log_softmax(1)
        shares = logarithms.exp()
        losses.append((shares * shares.detach()).sum() - logarithms.mean())
    return torch.stack(losses).sum()


def _backward(loss: Tensor) -> None:
    """As `loss.backward()`, which would turn autocast off for what checkpointing computes again."""
    torch.autograd.Variable._execution_engine.run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), True, True
    )
