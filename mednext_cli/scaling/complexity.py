"""Parameters and multiply-adds of a network, from shapes alone: no weight is ever allocated."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.dry_run import DryNetwork

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
    return complexity_of(DryNetwork(spec), patch_voxels)


def complexity_of(network: DryNetwork, patch_voxels: Sequence[int]) -> Complexity:
    """The same of a network that was built before; see `count_complexity`."""
    normalised = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del module, inputs
        nonlocal normalised
        normalised += output.numel()

    norms = (module for module in network.module.modules() if isinstance(module, _NORMS))
    hooks = [norm.register_forward_hook(count) for norm in norms]
    run = network.infer(patch_voxels, all_heads=True)
    for hook in hooks:
        hook.remove()
    # A multiply-add is two operations.
    return Complexity(network.parameters, run.operations // 2, normalised)
