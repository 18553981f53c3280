"""What of a MedNeXt can be chosen: the table `[model.mednext]` of a recipe."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mednext_cli.networks.family import NetworkSettings
from mednext_cli.networks.mednext.mixing import DEFAULT_WINDOW, Mixer, matched_width, usual_heads
from mednext_cli.networks.mednext.variants import STAGES, VARIANTS, Variant, size_of
from mednext_cli.settings.sections import Width, refuse_truth

Norm = Literal["group", "layer"]
Resampling = Literal["residual", "inverted", "plain"]
_SIDES = ("encoder_kernel", "decoder_kernel")
_SHAPE = ("expansion", "blocks")


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Size = Annotated[Literal["S", "B", "M", "L"], BeforeValidator(_upper)]
Kernel = Annotated[Literal[3, 5, 7], BeforeValidator(refuse_truth)]
Flag = Annotated[bool, Field(strict=True)]
# Far beyond any network that was ever trained; a file that says more is damaged, or a trap.
_Factor = Annotated[int, Field(strict=True, ge=1, le=64)]
Stages = Annotated[tuple[_Factor, ...], Field(min_length=STAGES, max_length=STAGES)]


class MedNeXtSettings(NetworkSettings):
    """Everything but channels that fixes the shapes and the arithmetic of a MedNeXt.

    What can be said in two ways is kept in one: `kernel` where both sides have the same, `size`
    where expansion and blocks are a published size's. So equal networks have equal settings.
    Source: arXiv 2303.09975, section 2 and Table 1; names of the published code in `official`.

    Attributes:
        size: blocks and expansion of Table 1, right (published).
        kernel: of encoder and decoder, voxels; 3 where nothing is said (published).
        encoder_kernel, decoder_kernel: of each side, both in the place of `kernel`; bottleneck and
            upsampling have the decoder's (published).
        base_channels: width at full resolution; each level down doubles it (published).
        dimensions: 3, or 2 for a network of slices (published).
        norm: group norm of one channel a group (statistics over space), or layer norm over the
            channels of each voxel (published).
        grn: global response normalisation after the expansion, ConvNeXt V2 (published, off as
            there).
        grn_in_first_downsampling: there too, where the published code forgets it, so that weights
            travel both ways (published).
        residual: whether a block adds its input (published).
        resampling: what leads from one resolution to the next: `residual` is an inverted bottleneck
            that adds its input by a strided 1x1x1 convolution, `inverted` the same without adding
            it, `plain` a norm and a strided convolution or a transposed one, as in ConvNeXt. Called
            `residual_resampling` before, true or false (published: residual, inverted).
        mixer: what mixes neighbouring voxels in the blocks at one resolution: `depthwise` is the
            depthwise convolution, `window_attention` has attention within windows in its place, of
            about as many weights as the kernel's, `bias` learned weights within windows that no
            voxel's value changes (published: depthwise).
        window: edge of these windows, voxels; 4 where nothing is said (ours).
        heads: of window attention; 1 for kernel 3 and else 2 where nothing is said (ours).
        expansion: factor of the inverted bottleneck for each of the nine stages, encoder from full
            resolution down, bottleneck, decoder from the bottom up; with `blocks`, in the place of
            `size` (published).
        blocks: blocks of each of the nine stages (published).
    """

    size: Size | None = "S"
    kernel: Kernel | None = None
    encoder_kernel: Kernel | None = None
    decoder_kernel: Kernel | None = None
    base_channels: Width = 32
    dimensions: Annotated[Literal[2, 3], BeforeValidator(refuse_truth)] = 3
    norm: Norm = "group"
    grn: Flag = False
    grn_in_first_downsampling: Flag = False
    residual: Flag = True
    resampling: Resampling = "residual"
    mixer: Mixer = "depthwise"
    window: Annotated[int, Field(strict=True, ge=2, le=16)] | None = None
    heads: Annotated[int, Field(strict=True, ge=1, le=64)] | None = None
    expansion: Stages | None = None
    blocks: Stages | None = None

    @model_validator(mode="before")
    @classmethod
    def _said_in_one_way(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        return _named(_with_mixer(_with_one_kernel(_with_resampling(values))))

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        sides, shape = (self.encoder_kernel, self.decoder_kernel), (self.expansion, self.blocks)
        if None in sides and sides != (None, None):
            raise ValueError("encoder_kernel and decoder_kernel must be given together")
        if (self.kernel is None) is (sides == (None, None)):
            raise ValueError("give either kernel, or encoder_kernel and decoder_kernel")
        if None in shape and shape != (None, None):
            raise ValueError("expansion and blocks must be given together")
        if (self.size is None) is (shape == (None, None)):
            raise ValueError("give either size, or expansion and blocks")
        if self.grn_in_first_downsampling and not self.grn:
            raise ValueError("grn_in_first_downsampling needs grn = true")
        if self.grn_in_first_downsampling and self.resampling == "plain":
            raise ValueError("grn_in_first_downsampling needs another resampling than plain")
        return self

    @model_validator(mode="after")
    def _mixer_can_be(self) -> Self:
        if self.mixer == "depthwise" and (self.window, self.heads) != (None, None):
            raise ValueError("window and heads need another mixer than depthwise")
        if self.mixer == "bias" and self.heads is not None:
            raise ValueError("heads need mixer = window_attention; bias has one a channel")
        if self.mixer == "bias" and self.resampling == "plain" and self.kernel != 3:
            raise ValueError("with mixer = bias and resampling = plain no kernel is used")
        if self.mixer == "window_attention":
            for kernel in self.kernels:
                self._check_width(kernel)
        return self

    def _check_width(self, kernel: int) -> None:
        if self.inner_width(self.base_channels, kernel) < 1:
            raise ValueError(
                f"at {self.base_channels} base_channels window {self.window} alone has about the "
                f"weights of kernel {kernel}: take a smaller window, or a larger kernel"
            )

    @property
    def window_edge(self) -> int:
        """Of the windows of a mixer that has any, voxels."""
        return self.window or DEFAULT_WINDOW

    def heads_for(self, kernel: int) -> int:
        """Heads of window attention in the place of this kernel."""
        return self.heads or usual_heads(kernel)

    def inner_width(self, channels: int, kernel: int) -> int:
        """Channels of the queries, keys and values of all heads; see `matched_width`."""
        heads = self.heads_for(kernel)
        return matched_width(channels, kernel, self.window_edge, heads, self.dimensions)

    @property
    def kernels(self) -> tuple[int, int]:
        """Kernel of the encoder and of the decoder, voxels."""
        if self.encoder_kernel is not None and self.decoder_kernel is not None:
            return self.encoder_kernel, self.decoder_kernel
        kernel = self.kernel or 3
        return kernel, kernel

    @property
    def variant(self) -> Variant:
        """Expansion ratios and blocks of the stages."""
        if self.expansion is not None and self.blocks is not None:
            return Variant(self.expansion, self.blocks)
        return VARIANTS[self.size or "S"]

    def with_kernel(self, kernel: int) -> "MedNeXtSettings":
        """The same with this kernel everywhere."""
        sides = dict.fromkeys(_SIDES)
        return MedNeXtSettings.model_validate({**self.model_dump(), **sides, "kernel": kernel})


def _with_resampling(values: dict[str, Any]) -> dict[str, Any]:
    """What was a truth before there were three ways."""
    adds_input = values.get("residual_resampling")
    if not isinstance(adds_input, bool) or "resampling" in values:
        return values
    rest = {name: value for name, value in values.items() if name != "residual_resampling"}
    return {**rest, "resampling": "residual" if adds_input else "inverted"}


def _with_one_kernel(values: dict[str, Any]) -> dict[str, Any]:
    encoder, decoder = (values.get(side) for side in _SIDES)
    if values.get("kernel") is not None or encoder != decoder:
        return values
    return {**values, **dict.fromkeys(_SIDES), "kernel": 3 if encoder is None else encoder}


def _with_mixer(values: dict[str, Any]) -> dict[str, Any]:
    if values.get("mixer", "depthwise") == "depthwise":
        return values
    window, heads = values.get("window"), values.get("heads")
    sides = [values["kernel"]] if values.get("kernel") else [values.get(side) for side in _SIDES]
    usual = heads is not None and all(heads == usual_heads(kernel) for kernel in sides)
    return {
        **values,
        "window": DEFAULT_WINDOW if window is None else window,
        "heads": None if usual and values["mixer"] == "window_attention" else heads,
    }


def _named(values: dict[str, Any]) -> dict[str, Any]:
    expansion, blocks = (values.get(name) for name in _SHAPE)
    if values.get("size") is not None or (expansion is None and blocks is None):
        return values
    if not (isinstance(expansion, list | tuple) and isinstance(blocks, list | tuple)):
        return {**values, "size": None}
    size = size_of(expansion, blocks)
    kept = {name: values[name] for name in values if name not in _SHAPE or size is None}
    return {**kept, "size": size}
