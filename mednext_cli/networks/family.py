"""The contract of a network: all that the rest of mednext asks of one.

A family is registered under the entry point `mednext.networks` as an object. Nothing here imports
PyTorch, so that recipes are checked and plans are made without it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.patches import Patch, PatchRule

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mednext_cli.networks.workload import Workload
    from mednext_cli.settings.sections import Operators


class NetworkSettings(BaseModel):
    """What of a family's networks can be chosen: the table `[model.NAME]` of a recipe.

    Frozen and hashable: values are numbers, texts, truths and tuples of them. None is what was not
    said; it is not written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Chosen = TypeVar("Chosen", bound=NetworkSettings)


@dataclass(frozen=True)
class PublishedNetwork(Generic[Chosen]):
    """A network that somebody else's code trained, as a family reads it off the weights.

    Attributes:
        settings: of the family.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
        deep_supervision: whether there are weights of heads on lower resolutions.
        state_dict: the weights under the names of the family's own network.
    """

    settings: Chosen
    in_channels: int
    out_channels: int
    deep_supervision: bool
    state_dict: "dict[str, Tensor]"


class NetworkFamily(ABC, Generic[Chosen]):
    """Networks that are built from the same settings.

    Attributes:
        name: of the entry point; recipes and checkpoints name the network by it.
        Settings: what can be chosen.
        requires: packages it builds with beside those of mednext, and what to install for each.
        deep_supervision: whether its networks can have heads on lower resolutions.
        auxiliary_weights: how the names of weights begin that only these heads have.
        unused_weights: how the names of weights begin that the published network has and never
            uses; no gradient reaches them.
        published_entry: under what name the published code looks for weights in a `torch.save`
            file; None where the file is the weights themselves.
        recomputes: whether `set_checkpointing` does something.
        fuses: whether it has fused operators of its own, see `set_operators`.
        capturable: whether its training steps were seen to wait for nothing on a GPU, as a CUDA
            graph of them asks for.
        trains_in_bfloat16_on_cpus: whether its gradients were seen to be right there; PyTorch's own
            convolutions of small images have wrong ones on processors with AVX-512.
        runs_without_memory: whether a network can be built and run on PyTorch's device "meta": then
            its weights are checked and its memory is estimated before any is taken.
    """

    name: ClassVar[str]
    Settings: type[Chosen]
    requires: ClassVar[Mapping[str, str]] = {}
    deep_supervision: ClassVar[bool] = False
    auxiliary_weights: ClassVar[tuple[str, ...]] = ()
    unused_weights: ClassVar[tuple[str, ...]] = ()
    published_entry: ClassVar[str | None] = None
    recomputes: ClassVar[bool] = False
    fuses: ClassVar[bool] = False
    capturable: ClassVar[bool] = False
    trains_in_bfloat16_on_cpus: ClassVar[bool] = False
    runs_without_memory: ClassVar[bool] = False

    def is_the_same_by_threads(self, settings: Chosen) -> bool:
        """Whether its logits in float32 on a CPU are the same bits by any number of threads."""
        del settings
        return False

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

    def planned(
        self, settings: Chosen, patch_voxels: Patch, spacing_mm: tuple[float, float, float]
    ) -> Chosen:
        """The settings with what they leave to the plan: strides, or the patch it is tied to.

        Args:
            settings: what was chosen.
            patch_voxels: (D, H, W) that is asked for; the network's own patches are near it.
            spacing_mm: (D, H, W) of the prepared images.
        """
        del patch_voxels, spacing_mm
        return settings

    def supervises(self, settings: Chosen) -> bool:
        """Whether `deep_supervision = "auto"` trains heads on lower resolutions."""
        del settings
        return self.deep_supervision

    @abstractmethod
    def divisor(self, settings: Chosen) -> int | tuple[int, ...]:
        """What every axis of a patch is a multiple of, voxels; one an axis where they differ."""

    def taken_divisor(self, settings: Chosen) -> int | None:
        """A smaller one, where PyTorch runs the network and nobody plans; None: there is none."""
        del settings
        return None

    def dimensions(self, settings: Chosen) -> int:
        """3, or 2 for networks of slices: their patches are (1, H, W)."""
        del settings
        return 3

    def smallest_patch(self, settings: Chosen) -> tuple[int, ...]:
        """Voxels along each axis of the smallest patch.

        In whatever order of the axes, unless the axes have divisors of their own.
        """
        divisor = self.divisor(settings)
        return (divisor,) * self.dimensions(settings) if isinstance(divisor, int) else divisor

    def fixed_patch(self, settings: Chosen) -> Patch | None:
        """The only patch (D, H, W) in voxels that the network takes; None takes any that fits."""
        del settings
        return None

    def one_graph(self, settings: Chosen) -> bool:
        """Whether one exported graph serves every patch: nothing in it is made for a length."""
        del settings
        return False

    def label(self, settings: Chosen) -> str:
        """The folder of its runs, as chosen and not yet planned; other settings, another label.

        By default its name, and every setting that is not the default: ``unetr-feature_size8``.
        """
        return label_of(self.name, settings, self.Settings())

    def checkpointing(self, settings: Chosen) -> bool:
        """Whether `checkpointing = "auto"` computes activations again for the gradient."""
        del settings
        return False

    def keeps_little(self, network: "nn.Module") -> bool:
        """Whether its operators keep as little in half precision as others with checkpointing."""
        del network
        return False

    def set_checkpointing(self, network: "nn.Module", on: bool) -> None:
        """Keep few activations in the forward pass and compute the others again, or keep all."""
        del network
        if on:
            raise SettingsError(
                f"network {self.name} has no gradient checkpointing",
                'Set model.checkpointing to "auto" or false.',
            )

    def choose_operators(
        self, workload: "Workload", kept: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | None:
        """What `operators = auto` takes on this machine, by measurement; None where that is moot.

        Call it before the network takes the device's memory. Where nothing was measured yet on this
        kind of GPU, that is done now, in minutes.

        Args:
            workload: what the network is run on.
            kept: what was chosen before for this work; stays, on the same kind of device.

        Returns:
            Plain types, for `set_operators` and to be kept: other operators give other bits.
        """
        del workload, kept
        return None

    def bfloat16_gain(self, workload: "Workload") -> float | None:
        """How many times as fast as in float32 the network is in bfloat16 on this CPU.

        Measured in seconds where that was not done yet, and kept for this user.

        Args:
            workload: what the network is run on; its number format does not count.

        Returns:
            None where that is moot, or not known.
        """
        del workload
        return None

    def set_operators(
        self,
        network: "nn.Module",
        operators: "Operators",
        device: "torch.device",
        chosen: Mapping[str, Any] | None = None,
    ) -> None:
        """Choose what computes the network: PyTorch's operators or fused ones of its own.

        Args:
            network: on its device; not compiled yet.
            operators: see `ModelSettings`.
            device: where it will run.
            chosen: of `choose_operators`; heeded by auto alone.

        Raises:
            SettingsError: fused ones are asked for, and cannot run on this device; or what was
                chosen cannot be, or is of another network.
        """
        del network, device, chosen
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

    def read_published(
        self, weights: "Mapping[str, Tensor]", said: Mapping[str, Any]
    ) -> PublishedNetwork[Chosen]:
        """What published weights are of.

        Args:
            weights: under the names of the published code, dense and finite.
            said: values of `Settings`, for what the shapes do not tell.

        Raises:
            LookupError, TypeError, ValueError: they are not weights of this family; whoever imports
                them says so.
            CheckpointError: they are not of what was said.
            SettingsError: nothing of this family is published, or `said` cannot be.
        """
        del weights, said
        raise self._nothing_published()

    def publish(self, settings: Chosen, state_dict: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """The weights under the names of the published code.

        Raises:
            CheckpointError: the published code has no such network.
            SettingsError: nothing of this family is published.
        """
        del settings, state_dict
        raise self._nothing_published()

    def _nothing_published(self) -> SettingsError:
        return SettingsError(
            f"network {self.name} reads and writes no published weights",
            "Use a checkpoint of mednext.",
        )

    def patch_rule(self, settings: Chosen) -> PatchRule:
        """Which patches the network takes."""
        divisor, dimensions = self.divisor(settings), self.dimensions(settings)
        taken = self.taken_divisor(settings)
        return PatchRule(
            divisors=(divisor,) * dimensions if isinstance(divisor, int) else divisor,
            smallest=self.smallest_patch(settings),
            dimensions=dimensions,
            fixed=self.fixed_patch(settings),
            taken=None if taken is None else (taken,) * dimensions,
        )


def label_of(name: str, settings: NetworkSettings, usual: NetworkSettings) -> str:
    """A name for the folder of a network's runs, and what differs from the usual settings."""
    fields = type(usual).model_fields
    values = ((field, getattr(settings, field), getattr(usual, field)) for field in fields)
    return "-".join((name, *(f"{field}{_short(own)}" for field, own, its in values if own != its)))


def _short(value: object) -> str:
    """Of a setting's value, for the name of a folder; numbers of one stage side by side."""
    if isinstance(value, bool):
        return "" if value else "_off"
    if not isinstance(value, tuple):
        return str(value)
    return "_".join(
        "".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value
    )
