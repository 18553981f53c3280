"""What the estimate of memory takes attention to keep."""

import pytest
import torch
from torch.nn import functional as F

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.spec import describe_network
from mednext_cli.scaling.attention import attention_as_on
from mednext_cli.scaling.memory import estimate_memory

_PATCH, _HEADS, _LAYERS, _BATCH = (32, 32, 64), 8, 1, 2
_TOKENS = 32 * 32 * 64 // 8**3
_WEIGHTS_GIB = _BATCH * _HEADS * _TOKENS**2 * 4 / GIB


def _step_gib(device_type: str, dropout: float) -> float:
    spec = describe_network(
        "transbts",
        1,
        2,
        base_channels=8,
        layers=_LAYERS,
        heads=_HEADS,
        hidden_dim=8,
        attention_dropout=dropout,
        patch_voxels=_PATCH,
    )
    return estimate_memory(spec, _PATCH, _BATCH, device_type=device_type).training_gib


@pytest.mark.slow
def test_only_a_cpu_keeps_the_weights_of_every_pair_and_only_where_some_are_dropped() -> None:
    assert _step_gib("cpu", 0.1) > _step_gib("cuda", 0.1) + _LAYERS * _WEIGHTS_GIB
    assert _step_gib("cpu", 0.0) == _step_gib("cuda", 0.0)


@pytest.mark.parametrize(
    ("device_type", "learned", "in_parts"),
    [("cuda", True, True), ("cuda", False, True), ("cpu", True, False), ("cpu", False, True)],
)
def test_a_cpu_keeps_them_too_where_what_is_added_is_learned(device_type, learned, in_parts):
    tokens = torch.empty(2, 3, 8, 4, device="meta", requires_grad=True)
    added = torch.empty(1, 3, 8, 8, device="meta", requires_grad=learned)
    with attention_as_on(device_type):
        attended = F.scaled_dot_product_attention(tokens, tokens, tokens, attn_mask=added)
    assert attended.shape == tokens.shape
    assert ("Efficient" in type(attended.grad_fn).__name__) is in_parts


def test_afterwards_all_is_as_before() -> None:
    tokens = torch.empty(1, 2, 8, 4, device="meta", requires_grad=True)
    before = type(F.scaled_dot_product_attention(tokens, tokens, tokens).grad_fn)
    with attention_as_on("cuda"):
        within = type(F.scaled_dot_product_attention(tokens, tokens, tokens).grad_fn)
    after = type(F.scaled_dot_product_attention(tokens, tokens, tokens).grad_fn)
    assert before is after is not within
