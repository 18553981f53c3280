"""Half precision at a size where a lost mean adds up: the kernels' part by PyTorch in float32."""

import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks.mednext.blocks import MedNeXtBlock
from mednext_cli.networks.mednext.cpu import left_to_pytorch
from mednext_cli.networks.mednext.kernels import depthwise, tiles
from mednext_cli.networks.mednext.kernels.depthwise import first, last
from mednext_cli.networks.mednext.settings import MedNeXtSettings


def _float(rows, through):
    """What a kernel has in registers: the gradient and what comes through the moments."""
    image = rows.float()
    if through is not None:
        terms = through.terms[:, :, None, None, None]
        image = image + terms[:, 0] + terms[:, 1] * through.result.float()
    return first(image)


def _convolve(x, taps, bias, shape, way, moments=False, through=None):
    weight = taps.permute(3, 0, 1, 2)[:, None]
    y = last(F.conv3d(_float(x, through), weight, bias, padding=1, groups=len(weight))).to(x.dtype)
    if not moments:
        return y, None
    values = y.float().flatten(1, 3)
    mean, count = values.mean(1), torch.full_like(values[:, 0], values.shape[1])
    return y, torch.stack([mean, values.var(1, correction=0) * count, count], 1)[:, None]


def _weight_sums(image, gradient, kernel, stride, transposed, through):
    weight = (image.shape[-1], 1, kernel, kernel, kernel)
    slope = _float(gradient, through)
    taps = torch.nn.grad.conv3d_weight(
        first(image.float()), weight, slope, padding=1, groups=weight[0]
    )
    return taps[:, 0].permute(1, 2, 3, 0), slope.sum((0, 2, 3, 4))


def _gradients(block, x, slope, autocast):
    block.zero_grad()
    x = x.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = block(x)
    y.backward(slope.to(y.dtype))
    found = {name: one.grad.clone() for name, one in block.named_parameters()}
    return found | {"x": x.grad}


@pytest.mark.slow
def test_gradients_err_at_most_twice_as_much_as_pytorchs(monkeypatch):
    monkeypatch.setattr(depthwise, "convolve", _convolve)
    monkeypatch.setattr(depthwise, "weight_sums", _weight_sums)
    monkeypatch.setattr(tiles, "is_fused", lambda *given: False)
    torch.manual_seed(0)
    block = MedNeXtBlock(MedNeXtSettings(), 4, 4, 2, 3, grn=False)
    x, slope = torch.randn(1, 4, 64, 64, 64) + 1, torch.randn(1, 4, 64, 64, 64).bfloat16()
    found = {}
    for operators in ("fused", "stock"):
        block.operators = operators
        with left_to_pytorch():  # a CPU's own way is more exact than PyTorch's
            found[operators] = _gradients(block, x, slope, True)
    exact = _gradients(block.double(), x.double(), slope, False)
    for name, one in exact.items():
        if name == "depthwise.bias":  # before a norm: zero, all of it rounding
            continue
        errors = [((found[kind][name] - one).norm() / one.norm()) for kind in ("fused", "stock")]
        assert errors[0] < 2 * errors[1], name
