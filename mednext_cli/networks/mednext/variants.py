"""The four published sizes as rows of numbers; everything that names a size reads this table."""

from dataclasses import dataclass
from typing import Literal

from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.networks.mednext.architecture import STAGES, Architecture, Norm

Size = Literal["S", "B", "M", "L"]


@dataclass(frozen=True)
class Variant:
    """One size: expansion ratios and blocks of the nine stages (Table 1 right of the paper)."""

    expansion: tuple[int, ...]
    blocks: tuple[int, ...]


VARIANTS: dict[str, Variant] = {
    "S": Variant((2,) * STAGES, (2,) * STAGES),
    "B": Variant((2, 3, 4, 4, 4, 4, 4, 3, 2), (2,) * STAGES),
    "M": Variant((2, 3, 4, 4, 4, 4, 4, 3, 2), (3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "L": Variant((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


def architecture(
    size: str,
    kernel: int | None,
    in_channels: int,
    out_channels: int,
    base_channels: int = 32,
    *,
    encoder_kernel: int | None = None,
    decoder_kernel: int | None = None,
    dimensions: int = 3,
    norm: Norm = "group",
    grn: bool = False,
    grn_in_first_downsampling: bool = False,
    residual: bool = True,
    residual_resampling: bool = True,
    deep_supervision: bool = True,
) -> Architecture:
    """The architecture of a named size.

    Args:
        size: S, B, M or L.
        kernel: depthwise kernel of the whole network, or None where encoder and decoder have
            their own.
        in_channels: image channels.
        out_channels: classes (with the background) or regions.
        base_channels: channels at full resolution (32 as published).
        encoder_kernel: with `decoder_kernel`, instead of `kernel`.
        decoder_kernel: with `encoder_kernel`, instead of `kernel`.
        dimensions: 2 or 3.
        norm: see `Architecture`, as for all that follow.
        grn: global response normalisation.
        grn_in_first_downsampling: there too, unlike the published code.
        residual: residual blocks.
        residual_resampling: residual down- and upsampling.
        deep_supervision: heads on the lower resolutions.

    Raises:
        SettingsError: unknown size, both or neither way of giving the kernels (the published code
            lets `kernel_size` silently win), or an impossible value.
    """
    if size not in VARIANTS:
        raise SettingsError(f"unknown MedNeXt size {size!r}", nearest(size, VARIANTS))
    encoder, decoder = _kernels(kernel, encoder_kernel, decoder_kernel)
    return Architecture(
        in_channels=in_channels,
        out_channels=out_channels,
        base_channels=base_channels,
        expansion=VARIANTS[size].expansion,
        blocks=VARIANTS[size].blocks,
        encoder_kernel=encoder,
        decoder_kernel=decoder,
        dimensions=dimensions,
        norm=norm,
        grn=grn,
        grn_in_first_downsampling=grn_in_first_downsampling,
        residual=residual,
        residual_resampling=residual_resampling,
        deep_supervision=deep_supervision,
    )


def _kernels(kernel: int | None, encoder: int | None, decoder: int | None) -> tuple[int, int]:
    if kernel is not None and encoder is None and decoder is None:
        return kernel, kernel
    if kernel is None and encoder is not None and decoder is not None:
        return encoder, decoder
    raise SettingsError(
        f"kernel {kernel}, encoder_kernel {encoder} and decoder_kernel {decoder} clash",
        "Give either kernel, or both encoder_kernel and decoder_kernel.",
    )


def size_of(architecture: Architecture) -> str | None:
    """The name of the size with these expansion ratios and blocks; None if it has none."""
    for size, variant in VARIANTS.items():
        if (architecture.expansion, architecture.blocks) == (variant.expansion, variant.blocks):
            return size
    return None
