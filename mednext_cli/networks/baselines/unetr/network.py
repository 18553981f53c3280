"""MONAI's UNETR with attention that keeps no weights of token against token."""

from monai.networks import nets
from torch import Tensor, nn

from mednext_cli.networks.attention import attend
from mednext_cli.networks.baselines.unetr.family import UNETRSettings


class UNETR(nets.UNETR):  # type: ignore[misc]  # MONAI is untyped
    """Takes images (B, in_channels, D, H, W) of one size, gives logits (B, out_channels, D, H, W).

    Names and numbers of weights are MONAI's.

    Args:
        settings: of the network, with the patch it is tied to.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
    """

    def __init__(self, settings: UNETRSettings, in_channels: int, out_channels: int) -> None:
        super().__init__(
            in_channels,
            out_channels,
            img_size=settings.patch,
            feature_size=settings.feature_size,
            hidden_size=settings.hidden_size,
            mlp_dim=settings.mlp_dim,
            num_heads=settings.num_heads,
            proj_type=settings.proj_type,
            dropout_rate=settings.dropout_rate,
        )
        for layer in self.vit.blocks:
            layer.attn = SelfAttention(
                settings.hidden_size, settings.num_heads, settings.dropout_rate
            )

    @property
    def recomputable(self) -> list[nn.Module]:
        """Parts between which gradient checkpointing keeps activations."""
        encoders = (self.encoder1, self.encoder2, self.encoder3, self.encoder4)
        decoders = (self.decoder5, self.decoder4, self.decoder3, self.decoder2)
        return [*self.vit.blocks, *encoders, *decoders]


class SelfAttention(nn.Module):
    """MONAI's `SABlock` without its tokens x tokens weights.

    MONAI's own choice of `scaled_dot_product_attention` cannot be reached through `UNETR`, and
    drops out in evaluation as well.

    Args:
        width: of a token; the heads share it.
        heads: which divide the width.
        dropout: of the attention's weights and of what leaves it.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)
        self.drop_output = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, attn_mask: None = None) -> Tensor:
        """Tokens (B, N, width), the same shape back; the mask is what MONAI hands over: none."""
        del attn_mask
        queries, keys, values = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).unbind(2)
        attended = attend(
            queries.transpose(1, 2),
            keys.transpose(1, 2),
            values.transpose(1, 2),
            dropout=self.dropout if self.training else 0.0,
        )
        output: Tensor = self.drop_output(self.out_proj(attended.transpose(1, 2).flatten(2)))
        return output
