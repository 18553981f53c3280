"""What is counted of operators without memory."""

import torch
from torch.nn import functional as F

from mednext_cli.scaling.ledger import Ledger

_FLOAT = 4  # bytes


def test_views_of_weights_are_not_memory_of_their_own():
    with torch.device("meta"):
        images, weights, bias = torch.empty(2, 3, 5), torch.empty(7, 5), torch.empty(7)
        with Ledger() as ledger:
            result = F.linear(images, weights, bias)
            weights.add_(1)
    assert result.shape == (2, 3, 7)
    assert ledger.peak_bytes == _FLOAT * result.numel()


def test_what_is_gone_counts_no_more():
    with torch.device("meta"), Ledger() as ledger:
        for _ in range(3):
            torch.empty(10).exp().view(2, 5)
    assert ledger.peak_bytes == 2 * 10 * _FLOAT
