"""What a scaling report is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.plugins import nearest_plugin
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.mednext.settings import Kernel
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.networks.patches import Patch
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.networks.registry import family_names
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.device_sheets import NAMES
from mednext_cli.settings.recipe import DEFAULT_NETWORK, ModelSettings
from mednext_cli.settings.recipe_files import find_recipes

PUBLISHED_PATCH = (128, 128, 128)
PUBLISHED_WIDTH = 32
_KERNELS = get_args(get_args(Kernel)[0])


@dataclass(frozen=True)
class ReportedNetwork:
    """One row of the report.

    Attributes:
        label: like S-k3, or the name that was given.
        spec: of the network.
        patch_voxels: (D, H, W), near what was asked for.
        checkpointing: as the family trains it by default.
        model: size of MedNeXt; "" for others.
        kernel: of MedNeXt; None for others.
        width: of MedNeXt at full resolution; None for others.
    """

    label: str
    spec: NetworkSpec
    patch_voxels: Patch
    checkpointing: bool
    model: str = ""
    kernel: int | None = None
    width: int | None = None


@dataclass(frozen=True)
class ScaleReportSpec:
    """What to report on.

    Attributes:
        models: sizes of MedNeXt.
        kernels: of the depthwise convolutions, voxels.
        patch_voxels: (D, H, W); other networks than MedNeXt take the nearest that fits them.
        batch_size: patches a training step (2 as published).
        in_channels: image channels.
        out_channels: classes.
        measure: also run every network on the device.
        device: auto, cpu, cuda, cuda:N or mps.
        out: folder for the report.
        widths: of MedNeXt at full resolution.
        networks: families, or recipes below baselines/; mednext is every size, kernel and width.
        device_sheet: estimate seconds and hours on this device; "" does not.
        effective_field: also find out by gradients what an untrained network looks at.
        budget: like ``11 GiB, 24 h``: also choose the largest network that fits; "" does not.

    Raises:
        SettingsError: unknown size, network or sheet, impossible kernel, width or patch.
    """

    models: tuple[str, ...] = tuple(VARIANTS)
    kernels: tuple[int, ...] = (3, 5)
    patch_voxels: Patch = PUBLISHED_PATCH
    batch_size: int = 2
    in_channels: int = 1
    out_channels: int = 3
    measure: bool = False
    device: str = "auto"
    out: Path = Path("scale_report")
    widths: tuple[int, ...] = (PUBLISHED_WIDTH,)
    networks: tuple[str, ...] = (DEFAULT_NETWORK,)
    device_sheet: str = ""
    effective_field: bool = False
    budget: str = ""

    def __post_init__(self) -> None:
        for size in self.models:
            if size not in VARIANTS:
                raise SettingsError(f"unknown size {size!r}", nearest(size, list(VARIANTS)))
        for kernel in self.kernels:
            if kernel not in _KERNELS:
                *others, last = map(str, _KERNELS)
                raise SettingsError(
                    f"kernel {kernel} is not possible", f"Give {', '.join(others)} or {last}."
                )
        if self.device_sheet and self.device_sheet not in NAMES:
            raise SettingsError(
                f"there is no device sheet {self.device_sheet!r}",
                nearest(self.device_sheet, NAMES),
            )
        for network in self.reported():
            network.spec.patch_rule.check(network.patch_voxels)

    def reported(self) -> tuple[ReportedNetwork, ...]:
        """Every row's network: those of MedNeXt one by one, of others as they are by default."""
        return tuple(
            network
            for name in self.networks
            for network in (self._mednexts() if name == DEFAULT_NETWORK else (self._other(name),))
        )

    def _mednexts(self) -> Iterator[ReportedNetwork]:
        for width in self.widths:
            for size in self.models:
                for kernel in self.kernels:
                    table = {"size": size, "kernel": kernel, "base_channels": width}
                    network = self._described(ModelSettings.model_validate({"mednext": table}))
                    yield replace(network, model=size, kernel=kernel, width=width)

    def _other(self, name: str) -> ReportedNetwork:
        recipe = f"baselines/{name}"
        if recipe in find_recipes():
            model = load_recipe(recipe).model
        elif name in family_names():
            model = ModelSettings(network=name)
        else:
            known = {*family_names(), *self._baselines()}
            raise SettingsError(
                f"there is no network {name!r}", nearest_plugin(name, sorted(known))
            )
        return replace(self._described(model), label=name)

    @staticmethod
    def _baselines() -> Iterator[str]:
        return (
            name.removeprefix("baselines/")
            for name in find_recipes()
            if name.startswith("baselines/")
        )

    def _described(self, model: ModelSettings) -> ReportedNetwork:
        chosen = choose_network(model)
        chosen = chosen.planned(self.patch_voxels)
        spec = chosen.spec(self.in_channels, self.out_channels)
        own = model.network == DEFAULT_NETWORK
        patch = self.patch_voxels if own else spec.patch_rule.fit(self.patch_voxels)
        return ReportedNetwork(chosen.label, spec, patch, chosen.checkpointing)


def parse_list(text: str) -> tuple[str, ...]:
    """The words of ``S,B, M``."""
    words = tuple(word for word in text.replace(" ", "").split(",") if word)
    if not words:
        raise SettingsError("an empty list was given", "Separate the values by commas.")
    return words


def parse_whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """The numbers of ``3,5``.

    Raises:
        SettingsError: one is not a whole number.
    """
    words = parse_list(text)
    if not all(word.isdecimal() for word in words):
        raise SettingsError(
            f"{option} {text} is not a list of whole numbers", "Give 3,5 for 3 and 5."
        )
    return tuple(int(word) for word in words)


def parse_patch(text: str) -> tuple[int, int, int]:
    """``128`` for a cube, or ``D,H,W``.

    Raises:
        SettingsError: neither.
    """
    sizes = parse_whole_numbers(text, "--patch")
    if len(sizes) == 1:
        sizes *= 3
    if len(sizes) != 3:
        raise SettingsError(f"--patch {text} is not a patch", "Give 128, or 96,128,128.")
    return sizes[0], sizes[1], sizes[2]
