"""The contract of a network: all that the rest of mednext asks of one.

A family is registered under the entry point `mednext.networks` as an object. Nothing here imports
PyTorch, so that recipes are checked and plans are made without it.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.patches import Patch, PatchRule

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mednext_cli.settings.recipe import Operators


class NetworkSettings(BaseModel):
    """What of a family's networks can be chosen: the table `[model.NAME]` of a recipe.

    Frozen and hashable: values are numbers, texts, truths and tuples of them. None is what was not
    said; it is not written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Chosen = TypeVar("Chosen", bound=NetworkSettings)


class NetworkFamily(ABC, Generic[Chosen]):
    """Networks that are built from the same settings.

    Attributes:
        name: of the entry point; recipes and checkpoints name the network by it.
        Settings: what can be chosen.
        deep_supervision: whether its networks have heads on lower resolutions, which are trained
            unless the recipe says otherwise.
        auxiliary_weights: how the names of weights begin that only these heads have.
        recomputes: whether `set_checkpointing` does something.
        runs_without_memory: whether a network can be built and run on PyTorch's device "meta": then
            its weights are checked and its memory is estimated before any is taken.
    """

    name: ClassVar[str]
    Settings: type[Chosen]
    deep_supervision: ClassVar[bool] = False
    auxiliary_weights: ClassVar[tuple[str, ...]] = ()
    recomputes: ClassVar[bool] = False
    runs_without_memory: ClassVar[bool] = False

    @abstractmethod
    def build(
        self, settings: Chosen, in_channels: int, out_channels: int, deep_supervision: bool
    ) -> "nn.Module":
        """A fresh network.

        Its `forward(x)` takes (B, in_channels, D, H, W), or (B, in_channels, H, W) where
        `dimensions` is 2, and gives logits (B, out_channels, ...) of the same size. One with deep
        supervision has `forward(x, deep_supervision=False)`; with True it gives a list of logits,
        full resolution first, each next one with fewer voxels.

        Args:
            settings: what was chosen.
            in_channels: channels of the image.
            out_channels: classes with the background, or regions.
            deep_supervision: whether it has heads on lower resolutions; never True where the
                family has none.
        """

    @abstractmethod
    def divisor(self, settings: Chosen) -> int:
        """What every axis of a patch is a multiple of, voxels."""

    def dimensions(self, settings: Chosen) -> int:
        """3, or 2 for networks of slices: their patches are (1, H, W)."""
        del settings
        return 3

    def smallest_patch(self, settings: Chosen) -> tuple[int, ...]:
        """Voxels along each axis of the smallest patch, in whatever order of the axes."""
        return (self.divisor(settings),) * self.dimensions(settings)

    def fixed_patch(self, settings: Chosen) -> Patch | None:
        """The only patch (D, H, W) in voxels that the network takes; None takes any that fits."""
        del settings
        return None

    def label(self, settings: Chosen) -> str:
        """The folder of its runs; other settings of the network, another label."""
        del settings
        return self.name

    def checkpointing(self, settings: Chosen) -> bool:
        """Whether `checkpointing = "auto"` computes activations again for the gradient."""
        del settings
        return False

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Keep few activations in the forward pass and compute the others again, or keep all."""
        del network
        if on:
            raise SettingsError(
                f"network {self.name} has no gradient checkpointing",
                'Set model.checkpointing to "auto" or false.',
            )

    def set_operators(
        self, network: "nn.Module", operators: "Operators", device: "torch.device"
    ) -> None:
        """Choose what computes the network: PyTorch's operators or fused ones of its own.

        Raises:
            SettingsError: fused ones are asked for, and cannot run on this device.
        """
        del network, device
        if operators == "fused":
            raise SettingsError(
                f"network {self.name} has no fused operators", "Take operators = auto."
            )

    def kernels(self, settings: Chosen) -> tuple[int, ...]:
        """Sizes of the kernels that UpKern can enlarge, voxels; empty where there are none."""
        del settings
        return ()

    def with_kernel(self, settings: Chosen, kernel: int) -> Chosen:
        """The same network with kernels of this size; only asked where `kernels` names some."""
        del settings, kernel
        raise SettingsError(
            f"network {self.name} has no kernels to enlarge", "UpKern needs a network that has."
        )

    def patch_rule(self, settings: Chosen) -> PatchRule:
        """Which patches the network takes."""
        return PatchRule(
            divisor=self.divisor(settings),
            smallest=self.smallest_patch(settings),
            dimensions=self.dimensions(settings),
            fixed=self.fixed_patch(settings),
        )
