"""How far a voxel of the output sees: by the shapes of the operators, and by gradients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.shortcuts import Shortcuts
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.ledger import tensors_in

aten = torch.ops.aten
_POOLS = (aten.max_pool3d_with_indices.default, aten.avg_pool3d.default)
_NEAREST = (aten.upsample_nearest3d.default, aten.upsample_nearest3d.vec)
_LINEAR = (aten.upsample_trilinear3d.default, aten.upsample_trilinear3d.vec)
# Each token meets others; which ones is lost where a window's axes are folded.
_ATTENTION = (
    aten.bmm.default,
    aten._softmax.default,
    aten._scaled_dot_product_efficient_attention.default,
)
_SHARE_OF_LARGEST = 0.0455  # what lies beyond two standard deviations of a Gaussian
_IMAGES = 3


@dataclass(frozen=True)
class _Sight:
    """Of a feature map along one axis.

    Attributes:
        extent: input voxels that one of its values depends on.
        step: input voxels between neighbours of it.
    """

    extent: float = 1.0
    step: float = 1.0


_Axes = tuple[_Sight, ...]


def receptive_field(network: DryNetwork, patch_voxels: Sequence[int]) -> tuple[int, ...] | None:
    """Voxels along (D, H, W) that an output voxel depends on, were the patch large enough.

    Norms over space are left out, as is usual: strictly they let each voxel see the whole patch.

    Args:
        network: without memory.
        patch_voxels: one that it takes; which one does not matter.

    Returns:
        None for networks with attention.

    Source: Araujo et al., "Computing receptive fields of convolutional neural networks", Distill
    2019, taken along the longest way.
    """
    watch = _Watch()
    with torch.no_grad(), watch:
        network.run_watched(patch_voxels, watch.begin)
    if watch.attends or watch.last is None:
        return None
    return tuple(math.ceil(sight.extent) for sight in watch.last)


class _Watch(Shortcuts):
    """Carries each feature map's sight from operator to operator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.attends = False
        self.last: _Axes | None = None
        self._sights = WeakTensorKeyDictionary()

    def begin(self, image: Tensor) -> None:
        """The image sees itself."""
        self._sights[image] = (_Sight(),) * (image.ndim - 2)

    def __torch_dispatch__(
        self,
        operator: Any,  # noqa: ANN401 - as torch hands it over
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        result = super().__torch_dispatch__(operator, types, args, kwargs)
        self.attends = self.attends or operator in _ATTENTION
        known = [self._sights[one] for one in tensors_in(args) if one in self._sights]
        if known:
            sight = _through(operator, args, _widest(known), result)
            for made in tensors_in(result):
                self._sights[made] = self.last = sight
        return result


def _widest(known: Sequence[_Axes]) -> _Axes:
    return tuple(
        _Sight(max(one.extent for one in axis), min(one.step for one in axis))
        for axis in zip(*known, strict=False)
    )


def _through(operator: Any, args: tuple[Any, ...], sights: _Axes, result: Any) -> _Axes:  # noqa: ANN401
    if operator is aten.convolution.default:
        kernel, stride, dilation, transposed = args[1].shape[2:], args[3], args[5], args[6]
        change = _spread if transposed else _gather
        reach = [(length - 1) * gap + 1 for length, gap in zip(kernel, dilation, strict=True)]
        return tuple(map(change, sights, reach, stride))
    if operator in _POOLS:
        stride = args[2] if len(args) > 2 and args[2] else args[1]
        return tuple(map(_gather, sights, args[1], stride))
    if operator in (*_NEAREST, *_LINEAR):
        factors = [
            larger // smaller
            for larger, smaller in zip(result.shape[2:], args[0].shape[2:], strict=True)
        ]
        taps = [factor * (2 if operator in _LINEAR and factor > 1 else 1) for factor in factors]
        return tuple(map(_spread, sights, taps, factors))
    return sights


def _gather(sight: _Sight, kernel: int, stride: int) -> _Sight:
    return _Sight(sight.extent + (kernel - 1) * sight.step, sight.step * stride)


def _spread(sight: _Sight, kernel: int, stride: int) -> _Sight:
    """A transposed convolution: so many inputs at most reach one output."""
    reaching = -(-kernel // stride)
    return _Sight(sight.extent + (reaching - 1) * sight.step, sight.step / stride)


def effective_field(spec: NetworkSpec, patch_voxels: Sequence[int]) -> float:
    """Edge, in voxels, of the cube that an untrained network's central voxel really looks at.

    The cube has as many voxels as have at least 4.55 % of the largest gradient of the central
    output, averaged over images of noise. Training widens it; norms are in it as they are.

    Args:
        spec: of the network; it is built with weights.
        patch_voxels: (D, H, W); the field ends at its border.

    Raises:
        SettingsError: the network cannot take such a patch.

    Source: Luo et al., arXiv 1701.04128, section 3.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = build_plain(spec).eval()
    total = torch.zeros(tuple(patch_voxels))
    for _ in range(_IMAGES):
        image = torch.randn(1, spec.in_channels, *patch_voxels, generator=generator)
        image.requires_grad_()
        centre = tuple(length // 2 for length in patch_voxels)
        network(image)[(0, slice(None), *centre)].sum().backward()
        assert image.grad is not None  # noqa: S101 - of a leaf after its backward pass
        total += image.grad[0].abs().sum(0)
    seen = int((total >= _SHARE_OF_LARGEST * total.max()).sum())
    return float(seen ** (1 / sum(length > 1 for length in patch_voxels)))
