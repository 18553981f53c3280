"""Parameters and multiply-adds of a network, from shapes alone: no weight is ever allocated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.spec import NetworkSpec

_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d, nn.InstanceNorm3d)
_OPERATIONS_PER_NORMALISED_VALUE = 5  # a convention of fvcore's: "just a rough estimate"


@dataclass(frozen=True)
class Complexity:
    """What one forward pass of one image costs.

    Attributes:
        parameters: trainable, with the heads the network has.
        multiply_adds: of all convolutions and products of matrices, attention's among them. A
            convolution has one per output value and weight that reaches it, padding included; a
            transposed convolution one per input value and weight that leaves it (its zeros are not
            multiplied). Norms, GELU, softmax, biases, additions: none.
        normalised_values: values that go through a norm.
    """

    parameters: int
    multiply_adds: int
    normalised_values: int

    @property
    def multiply_adds_and_norms(self) -> int:
        """The count of fvcore, which the published code's own script uses: norms count too."""
        return self.multiply_adds + _OPERATIONS_PER_NORMALISED_VALUE * self.normalised_values


def count_complexity(spec: NetworkSpec, patch_voxels: Sequence[int]) -> Complexity:
    """Count parameters and multiply-adds.

    Args:
        spec: of the network; deep supervision's heads count where it has them.
        patch_voxels: size of the image along each axis.

    Raises:
        SettingsError: the network cannot take such a patch.
    """
    with torch.device("meta"):
        network = build_plain(spec)
        image = torch.empty(1, spec.in_channels, *patch_voxels)
    normalised = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del module, inputs
        nonlocal normalised
        normalised += output.numel()

    for module in network.modules():
        if isinstance(module, _NORMS):
            module.register_forward_hook(count)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run_all_heads(network, image, spec)
    parameters = sum(weights.numel() for weights in network.parameters() if weights.requires_grad)
    operations = counter.get_total_flops()  # a multiply-add is two of them
    return Complexity(parameters, operations // 2, normalised)
