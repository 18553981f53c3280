"""TransUNet's mask decoder: learned queries, each of which finds a class and its mask.

Modules carry the names of the published code, so that weights travel as they are.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.baselines.transunet.mask_attention import (
    CrossAttentionLayer,
    FeedForwardLayer,
    SelfAttentionLayer,
)

_TEMPERATURE = 10000.0
_LEAST = 1e-30  # of a probability that is a softmax's and of float32


class MaskPrediction(NamedTuple):
    """What every query found.

    Attributes:
        classes: logits (B, queries, K + 1); the last is "no object".
        masks: logits (B, queries, D, H, W).
    """

    classes: Tensor
    masks: Tensor

    def semantic_map(self) -> Tensor:
        """(B, K, D, H, W): masks, summed over the queries by the probability of their class."""
        return self.log_semantic_map().exp()

    def log_semantic_map(self) -> Tensor:
        """The logarithm of the semantic map, in float32, with gradients where the map is nearly 0.

        Masks are divided by the largest of each voxel before they are summed.
        """
        with _full_precision(self.masks.device):
            weights = self.classes.float().softmax(-1)[..., :-1]
            masks = F.logsigmoid(self.masks.float())
            largest = masks.detach().amax(1, keepdim=True)
            summed = torch.einsum("bqk,bqdhw->bkdhw", weights, (masks - largest).exp())
            return summed.clamp(min=_LEAST).log() + largest


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast switched off, which the device "meta" does not have."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


class MaskDecoder(nn.Module):
    """Queries look at features inside the mask they predicted last, level after level.

    Args:
        classes: without "no object".
        queries: how many.
        width: channels of queries, features and mask features; a multiple of 6.
        layers: each with cross attention, self attention and a feed-forward layer.
        heads: of the attention.
        levels: of features, taken in turns.
        layer_scale: see `SelfAttentionLayer` and `FeedForwardLayer`.

    Source: arXiv 2112.01527 (Mask2Former), as arXiv 2310.07781 uses it.
    """

    def __init__(
        self,
        classes: int,
        *,
        queries: int,
        width: int,
        layers: int,
        heads: int,
        levels: int,
        layer_scale: bool,
    ) -> None:
        super().__init__()
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(width, heads) for _ in range(layers)
        )
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(width, heads, layer_scale) for _ in range(layers)
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FeedForwardLayer(width, layer_scale) for _ in range(layers)
        )
        self.decoder_norm = nn.LayerNorm(width)
        self.query_feat = nn.Embedding(queries, width)
        self.query_embed = nn.Embedding(queries, width)
        self.level_embed = nn.Embedding(levels, width)
        self.class_embed = nn.Linear(width, classes + 1)
        self.mask_embed = MaskEmbedding(width)

    @property
    def layers(self) -> list[nn.Module]:
        """All attention and feed-forward layers."""
        return [
            *self.transformer_cross_attention_layers,
            *self.transformer_self_attention_layers,
            *self.transformer_ffn_layers,
        ]

    def forward(self, levels: Sequence[Tensor], mask_features: Tensor) -> MaskPrediction:
        """What the queries found in the end; arguments as in `refine`."""
        *_, queries = self.refine(levels, mask_features)
        return MaskPrediction(self.class_embed(queries), self._masks(queries, mask_features))

    def refine(self, levels: Sequence[Tensor], mask_features: Tensor) -> Iterator[Tensor]:
        """The queries (B, queries, width) before the first layer, and after each.

        Args:
            levels: features (B, width, ...) of each level, the coarsest first.
            mask_features: (B, width, D, H, W) at full resolution.
        """
        voxels = [
            features.flatten(2).transpose(1, 2) + level
            for features, level in zip(levels, self.level_embed.weight, strict=True)
        ]
        positions = [sine_positions(features) for features in levels]
        places = self.query_embed.weight
        queries = self.query_feat.weight.repeat(len(mask_features), 1, 1)
        steps = zip(
            self.transformer_cross_attention_layers,
            self.transformer_self_attention_layers,
            self.transformer_ffn_layers,
            strict=True,
        )
        for index, (look_at_voxels, look_at_each_other, feed_forward) in enumerate(steps):
            refined = self.decoder_norm(queries)
            yield refined
            level = index % len(levels)
            mask = self._where_to_look(refined, mask_features, levels[level].shape[2:])
            queries = look_at_voxels(queries, places, voxels[level], positions[level], mask)
            queries = feed_forward(look_at_each_other(queries, places))
        yield self.decoder_norm(queries)

    def _masks(self, queries: Tensor, mask_features: Tensor) -> Tensor:
        return torch.einsum("bqc,bcdhw->bqdhw", self.mask_embed(queries), mask_features)

    @torch.no_grad()
    def _where_to_look(
        self, queries: Tensor, mask_features: Tensor, shape: Sequence[int]
    ) -> Tensor:
        """(B, 1, queries, voxels), True inside a query's mask; everywhere where that is empty."""
        masks = F.interpolate(self._masks(queries, mask_features), list(shape), mode="trilinear")
        inside = masks.flatten(2).sigmoid() >= 0.5
        return (inside | ~inside.any(-1, keepdim=True)).unsqueeze(1)


class MaskEmbedding(nn.Module):
    """Three linear layers with ReLU between them: what a query's mask is made of."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, queries: Tensor) -> Tensor:
        """(..., width)."""
        first, second, third = self.layers
        embedded: Tensor = third(F.relu(second(F.relu(first(queries)))))
        return embedded


def sine_positions(features: Tensor) -> Tensor:
    """Where the voxels of (B, C, D, H, W) are, as (D * H * W, C) sines and cosines.

    A third of the channels for each axis; positions go from 1 to the axis's length and are scaled
    to 2 pi. Source: arXiv 2005.12872 (DETR), with the exponents of the published 3D code.
    """
    channels = features.shape[1] // 3
    steps = torch.arange(channels, device=features.device) // 3
    periods = _TEMPERATURE ** (3 * steps / channels)
    shape = features.shape[2:]
    encoded = [_waves(length, periods) for length in shape]
    depth, height, width = shape
    return torch.cat(
        (
            encoded[0][:, None, None].expand(-1, height, width, -1),
            encoded[1][None, :, None].expand(depth, -1, width, -1),
            encoded[2][None, None].expand(depth, height, -1, -1),
        ),
        dim=-1,
    ).flatten(0, 2)


def _waves(length: int, periods: Tensor) -> Tensor:
    """(length, channels): sine and cosine in turns."""
    places = torch.arange(1, length + 1, device=periods.device) / (length + 1e-6) * 2 * math.pi
    angles = places[:, None] / periods
    return torch.stack((angles[:, 0::2].sin(), angles[:, 1::2].cos()), dim=-1).flatten(1)
