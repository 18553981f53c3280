"""What a MedNeXt is made of, as plain numbers that travel in checkpoints and recipes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.names import check_name, shown

LEVELS = 4  # resolutions above the bottleneck
STAGES = 2 * LEVELS + 1  # encoder, bottleneck, decoder
DIVISOR: int = 2**LEVELS
OWN_NETWORK = "mednext"
Norm = Literal["group", "layer"]
# Far beyond any network that was ever trained; a file that says more is damaged, or a trap.
_MOST = {
    "in_channels": 1024,
    "out_channels": 1024,
    "base_channels": 4096,
    "expansion": 64,
    "blocks": 64,
}
_LARGEST_KERNEL = 31
_MOST_NAMED = 3


@dataclass(frozen=True)
class Architecture:
    """Everything that fixes the shapes and the arithmetic of a network.

    Args:
        in_channels: image channels.
        out_channels: classes (with the background) or regions.
        base_channels: channels at full resolution; each level down doubles them.
        expansion: factor of the inverted bottleneck for each of the nine stages: encoder from
            full resolution down, bottleneck, decoder from the bottom up.
        blocks: blocks of each of the nine stages.
        encoder_kernel: depthwise kernel of encoder and downsampling, voxels, odd.
        decoder_kernel: depthwise kernel of bottleneck, upsampling and decoder, voxels, odd.
        dimensions: 2 or 3.
        norm: "group" (one channel a group: statistics over space, per sample and channel) or
            "layer" (statistics over channels, per voxel).
        grn: global response normalisation after the expansion (ConvNeXt V2).
        grn_in_first_downsampling: the published code forgets it there, and so does the default, so
            that weights travel both ways; True has it in every block.
        residual: the blocks add their input.
        residual_resampling: the down- and upsampling blocks add a 1x1x1 convolution of theirs.
        deep_supervision: whether the four lower resolutions have output heads of their own.
        network: the entry point (`mednext.networks`) that builds it.

    Raises:
        SettingsError: a value that no network can be built from.

    Source: arXiv 2303.09975, section 2 and Table 1; names of the published code in `official`.
    """

    in_channels: int
    out_channels: int
    base_channels: int = 32
    expansion: tuple[int, ...] = (2,) * STAGES
    blocks: tuple[int, ...] = (2,) * STAGES
    encoder_kernel: int = 3
    decoder_kernel: int = 3
    dimensions: int = 3
    norm: Norm = "group"
    grn: bool = False
    grn_in_first_downsampling: bool = False
    residual: bool = True
    residual_resampling: bool = True
    deep_supervision: bool = True
    network: str = OWN_NETWORK

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "base_channels"):
            _check_count(name, getattr(self, name))
        for name in ("expansion", "blocks"):
            values = getattr(self, name)
            if len(values) != STAGES:
                raise SettingsError(f"{name} has {len(values)} values", f"Give {STAGES} of them.")
            for value in values:
                _check_count(name, value)
        check_kernel(self.encoder_kernel)
        check_kernel(self.decoder_kernel)
        if self.dimensions not in (2, 3):
            raise SettingsError(
                f"{shown(self.dimensions)} dimensions are not possible", "Give 2 or 3."
            )
        if self.norm not in ("group", "layer"):
            raise SettingsError(f"unknown norm {shown(self.norm)}", "Give group or layer.")
        try:
            check_name(self.network)
        except ValueError as error:
            raise SettingsError(f"network: {error}", "Give the name of a network.") from error

    @property
    def kernels(self) -> tuple[int, int]:
        """Kernel of the encoder and of the decoder, voxels."""
        return self.encoder_kernel, self.decoder_kernel

    def with_kernel(self, kernel: int) -> "Architecture":
        """The same network with this kernel everywhere."""
        return replace(self, encoder_kernel=kernel, decoder_kernel=kernel)

    def to_json(self) -> dict[str, Any]:
        """Plain types for checkpoints and JSON."""
        values = asdict(self)
        return {**values, "expansion": list(self.expansion), "blocks": list(self.blocks)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Architecture":
        """Read back what `to_json` gave.

        Raises:
            SettingsError: keys unknown or missing, or values out of range.
        """
        known = {field.name: str(field.type) for field in fields(cls)}
        _check_keys(values, known)
        for name, value in values.items():
            _check_type(name, value, known[name])
        whole = dict(values)
        for name in ("expansion", "blocks"):
            if name in whole:
                whole[name] = tuple(whole[name])
        return cls(**whole)


def check_kernel(kernel: int) -> None:
    """Raise `SettingsError` unless a depthwise kernel can have this size (odd, at least 3)."""
    if kernel < 3 or kernel % 2 == 0:
        raise SettingsError(
            f"kernel {shown(kernel)} is not possible: a kernel is odd, so that it has a centre, "
            "and at least 3",
            "Give 3, 5 or 7.",
        )
    if kernel > _LARGEST_KERNEL:
        raise SettingsError(f"kernel {shown(kernel)} is too large", "Give 3, 5 or 7.")


def _check_count(name: str, value: int) -> None:
    if not 1 <= value <= _MOST[name]:
        raise SettingsError(f"{name} {shown(value)} is not possible", f"Give 1 to {_MOST[name]}.")


def _check_keys(values: Mapping[str, Any], known: Mapping[str, str]) -> None:
    unknown = [shown(name) for name in values if name not in known][:_MOST_NAMED]
    missing = sorted({"in_channels", "out_channels"} - set(values))
    if unknown or missing:
        what = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
        raise SettingsError(f"an architecture with {what}", "Update mednext, or check the file.")


def _check_type(name: str, value: Any, annotation: str) -> None:  # noqa: ANN401 - read from a file
    if "tuple" in annotation:
        good = isinstance(value, list | tuple) and all(type(one) is int for one in value)
    else:
        good = type(value) is {"int": int, "bool": bool}.get(_plain_name(annotation), str)
    if not good:
        raise SettingsError(f"an architecture with {name} {shown(value)}", "Check the file.")


def _plain_name(annotation: str) -> str:
    return annotation.removeprefix("<class '").removesuffix("'>")
