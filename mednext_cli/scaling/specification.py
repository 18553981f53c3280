"""What a scaling report is asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.networks.mednext.settings import Kernel
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.networks.spec import NetworkSpec, describe_network

PUBLISHED_PATCH = (128, 128, 128)
_KERNELS = get_args(get_args(Kernel)[0])


@dataclass(frozen=True)
class ScaleReportSpec:
    """What to report on.

    Attributes:
        models: sizes of MedNeXt.
        kernels: of the depthwise convolutions, voxels.
        patch_voxels: (D, H, W).
        batch_size: patches a training step (2 as published).
        in_channels: image channels.
        out_channels: classes.
        measure: also run every network on the device.
        device: auto, cpu, cuda, cuda:N or mps.
        out: folder for the report.

    Raises:
        SettingsError: unknown size, impossible kernel or patch.
    """

    models: tuple[str, ...] = tuple(VARIANTS)
    kernels: tuple[int, ...] = (3, 5)
    patch_voxels: tuple[int, int, int] = PUBLISHED_PATCH
    batch_size: int = 2
    in_channels: int = 1
    out_channels: int = 3
    measure: bool = False
    device: str = "auto"
    out: Path = Path("scale_report")

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
        for network in self.networks.values():
            network.patch_rule.check(self.patch_voxels)

    @property
    def networks(self) -> dict[tuple[str, int], NetworkSpec]:
        """Every size with every kernel."""
        return {
            (size, kernel): describe_network(
                "mednext", self.in_channels, self.out_channels, size=size, kernel=kernel
            )
            for size in self.models
            for kernel in self.kernels
        }


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
