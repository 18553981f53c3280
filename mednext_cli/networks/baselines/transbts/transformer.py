"""The transformer of TransBTS; tokens are (B, tokens, width)."""

from torch import Tensor, nn

from mednext_cli.networks.attention import attend


class SelfAttention(nn.Module):
    """Attention of all tokens to all, in several heads.

    Args:
        width: channels of a token.
        heads: that share the channels.
        dropout: of the weights, and of the result.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads, self._dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same shape."""
        query, key, value = self.qkv(x).unflatten(2, (3, self._heads, -1)).unbind(2)
        attended = attend(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            dropout=self._dropout if self.training else 0.0,
        )
        projected: Tensor = self.drop(self.proj(attended.transpose(1, 2).flatten(2)))
        return projected


class TransformerLayer(nn.Module):
    """Attention and a perceptron, each a residual branch behind a norm.

    Args:
        width: channels of a token.
        heads: of the attention.
        hidden: channels inside the perceptron.
        dropout: of what each branch adds, and inside the perceptron.
        attention_dropout: see `SelfAttention`.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, attention_dropout)
        self.drop = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) to the same shape."""
        x = x + self.drop(self.attention(self.norm1(x)))
        transformed: Tensor = x + self.perceptron(self.norm2(x))
        return transformed
