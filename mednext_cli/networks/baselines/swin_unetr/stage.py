"""One stage of the encoder: blocks of attention within windows, then merging of 2 x 2 x 2 tokens.

Names and numbers of weights are MONAI's, whose own stage stores the weights of every token with
the 343 of its window, and which torch.compile cannot take whole.
"""

import torch
from monai.networks.blocks import MLPBlock
from torch import Tensor, nn

from mednext_cli.networks.attention import attend
from mednext_cli.networks.baselines.drop_path import DropPath
from mednext_cli.networks.baselines.swin_unetr.settings import PatchMerging, SwinUNETRSettings
from mednext_cli.networks.baselines.swin_unetr.windows import (
    Box,
    Sizes,
    Windows,
    relative_position_index,
)

# Corners of 2 x 2 x 2 tokens (D, H, W) in the order in which their channels are joined.
CORNERS: dict[PatchMerging, tuple[str, ...]] = {
    "since_1_5": ("000", "100", "010", "001", "110", "101", "011", "111"),
    # MONAI's bug: 010 and 001 twice, 110 and 011 never.
    "before_1_5": ("000", "100", "010", "001", "101", "010", "001", "111"),
    "v2": ("000", "001", "010", "011", "100", "101", "110", "111"),
}
_EXPANSION = 4  # of the perceptrons, as published


class Stage(nn.Module):
    """Takes a map (B, C, D, H, W), gives (B, 2 C, D / 2, H / 2, W / 2).

    Args:
        settings: of the network.
        stage: 0 to 3, from half the resolution down.
    """

    def __init__(self, settings: SwinUNETRSettings, stage: int) -> None:
        super().__init__()
        before, blocks = sum(settings.depths[:stage]), settings.depths[stage]
        paths = torch.linspace(
            0, settings.dropout_path_rate, sum(settings.depths), device="cpu"
        ).tolist()
        self.blocks = nn.ModuleList(
            Block(settings, stage, bool(number % 2), paths[before + number])
            for number in range(blocks)
        )
        self.downsample = Merging(settings.width(stage), CORNERS[settings.patch_merging])

    def forward(self, image: Tensor) -> Tensor:
        """Channels go last within."""
        tokens = image.permute(0, 2, 3, 4, 1)
        for block in self.blocks:
            tokens = block(tokens)
        output: Tensor = self.downsample(tokens)
        return output.permute(0, 4, 1, 2, 3)

    @property
    def recomputable(self) -> list[nn.Module]:
        """Parts between which gradient checkpointing keeps activations."""
        return [*self.blocks, self.downsample]


class Block(nn.Module):
    """Attention within windows, then a perceptron of each token; both are added.

    Args:
        settings: of the network.
        stage: it is in.
        shifted: by half a window.
        path_rate: share of samples in which it is skipped.
    """

    def __init__(
        self, settings: SwinUNETRSettings, stage: int, shifted: bool, path_rate: float
    ) -> None:
        super().__init__()
        width = settings.width(stage)
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(settings, stage, shifted)
        self.drop_path = DropPath(path_rate)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLPBlock(
            width, _EXPANSION * width, dropout_rate=settings.drop_rate, dropout_mode="swin"
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """A map (B, D, H, W, C); the same shape back."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        output: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return output


class WindowAttention(nn.Module):
    """Tokens of a window see each other, with a learned bias for how they lie to each other.

    Args:
        settings: of the network.
        stage: it is in.
        shifted: by half a window.
    """

    index: Tensor

    def __init__(self, settings: SwinUNETRSettings, stage: int, shifted: bool) -> None:
        super().__init__()
        width, self.heads = settings.width(stage), settings.num_heads[stage]
        self.edge, self.shifted = settings.window_size, shifted
        self.dropout = settings.attn_drop_rate
        places = (2 * self.edge - 1) ** 3
        self.relative_position_bias_table = nn.Parameter(torch.empty(places, self.heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        # Not saved: it follows from the size of the window.
        self.register_buffer("index", relative_position_index(self.edge), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(settings.drop_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        """A map (B, D, H, W, C); the same shape back."""
        sizes: Sizes = (tokens.shape[1], tokens.shape[2], tokens.shape[3])
        windows = Windows.of(sizes, self.edge, self.shifted)
        qkv = self.qkv(windows.arrange(tokens)).unflatten(4, (3, self.heads, -1))
        bias = self._bias(windows)
        boxes = [self._attend(qkv, box, windows, bias) for box in windows.boxes()]
        output: Tensor = self.proj_drop(self.proj(windows.put_back(windows.join(boxes))))
        return output

    def _bias(self, windows: Windows) -> Tensor:
        """(heads, tokens, tokens) of a window.

        Of a window that the map makes smaller, MONAI takes the first rows and columns of the
        whole window's, though the places of its tokens differ. Weights are trained so.
        """
        count = windows.window[0] * windows.window[1] * windows.window[2]
        rows = self.index[:count, :count]
        return self.relative_position_bias_table[rows].permute(2, 0, 1)

    def _attend(self, qkv: Tensor, box: Box, windows: Windows, bias: Tensor) -> Tensor:
        """Attention in the windows of a box of the map (B, D, H, W, 3, heads, C / heads).

        One bias serves all windows of the box, so that none is stored for each of them.
        """
        part = qkv[(slice(None), *box.parts)]
        queries, keys, values = windows.split(part).permute(2, 0, 3, 1, 4).unbind(0)
        if any(box.mixed):
            bias = bias + windows.mask(box.mixed, bias)
        dropout = self.dropout if self.training else 0.0
        attended = attend(queries, keys, values, bias.to(queries.dtype)[None], dropout)
        return windows.merge(attended.transpose(1, 2).flatten(2), part.shape[:4])


class Merging(nn.Module):
    """Joins 2 x 2 x 2 tokens into one of twice the width.

    Args:
        width: of a token.
        corners: of the eight, in order; two of MONAI's orders are of all of them.
    """

    def __init__(self, width: int, corners: tuple[str, ...]) -> None:
        super().__init__()
        self.corners = [tuple(map(int, corner)) for corner in corners]
        self.reduction = nn.Linear(8 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(8 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, D, H, W, C) of even sizes to (B, D / 2, H / 2, W / 2, 2 C)."""
        joined = torch.cat([tokens[:, d::2, h::2, w::2] for d, h, w in self.corners], -1)
        output: Tensor = self.reduction(self.norm(joined))
        return output
