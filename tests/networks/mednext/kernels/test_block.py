"""The fused block, and networks made of it, against the stock ones."""

import copy

import pytest
import torch
from torch.nn import functional as F

from mednext_cli.networks.mednext import blocks
from mednext_cli.networks.mednext.blocks import DownBlock, MedNeXtBlock, UpBlock
from mednext_cli.networks.mednext.kernels.block import _library, bottleneck
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from tests.networks.made import build, mednext

_BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float64: 1e-12}


def _distance(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


def _tensors(dtype, channels, hidden, out, shape, device, padded=False):
    torch.manual_seed(0)
    grid = [size + padded for size in shape]
    coarse = [size // 2 for size in grid] if padded else grid
    sizes = [(2, channels, *shape), (2, channels), (2, channels), (hidden, channels, 1, 1, 1)]
    sizes += [(hidden,), (out, hidden, 1, 1, 1), (out,), (2, out, *coarse), (2, out, *grid)]
    made = [torch.randn(size, device=device) for size in sizes]
    made[3] /= channels**0.5
    made[5] /= hidden**0.5
    double = dtype is torch.float64
    return [one.to(dtype) if double or i in (0, 7, 8) else one for i, one in enumerate(made)]


def _gradients(run, given, slope, padded):
    given = [one.detach().requires_grad_() for one in given]
    y = run(*given, padded)
    y.backward(slope.to(y.dtype))
    return [y.detach(), *(one.grad for one in given)]


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [
        (torch.float32, (1, 2, 3, (1, 1, 2), False)),
        (torch.float32, (32, 96, 16, (3, 5, 7), True)),
        (torch.bfloat16, (32, 64, 64, (3, 17, 3), False)),
        (torch.float16, (5, 20, 3, (1, 5, 3), True)),
        (torch.float64, (17, 40, 5, (2, 3, 33), False)),
    ],
)
def test_output_and_gradients(dtype, sizes, device):
    if dtype is torch.float64 and device.type == "cuda":
        pytest.skip("float64 is for the interpreter only")
    *sizes, padded = sizes
    given = _tensors(dtype, *sizes, device, padded)
    slope = torch.randn(given[8].shape, device=device).to(dtype)
    found = _gradients(bottleneck, given, slope, padded)
    expected = _gradients(_library, [one.double() for one in given], slope, padded)
    for one, other in zip(found, expected, strict=True):
        assert _distance(one, other) < _BOUNDS[dtype]


def test_a_sum_of_two_types_has_the_wider(device):
    given = _tensors(torch.bfloat16, 2, 4, 2, (1, 1, 2), device)
    given[7] = given[7].float()
    found = _gradients(bottleneck, given, given[8], False)
    expected = _gradients(_library, given, given[8], False)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype is other.dtype
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_gelu_in_half_precision_errs_less_than_bfloat16_rounds(scale, device):
    torch.manual_seed(0)
    z = (scale * torch.randn(1, 16, 2, 8, 8, device=device)).half()
    one, none = torch.ones(1, 16, device=device), torch.zeros(1, 16, device=device)
    eye = torch.eye(16, device=device)[..., None, None, None]
    found = bottleneck(z, one, none, eye, none[0], eye, none[0], None, None, False)
    expected = F.gelu(z.double())
    assert _distance(found, expected) < 0.5 * _distance(expected.bfloat16(), expected)


@pytest.mark.parametrize("residual", [True, False])
def test_an_up_block_adds_its_skip_without_another_pass(residual, device, monkeypatch):
    if device.type == "cuda":
        pytest.skip("float64 is for the interpreter only")
    torch.manual_seed(0)
    settings = MedNeXtSettings(base_channels=2)
    stock = UpBlock(settings, 2, 3, 2, 3, grn=False).double()
    if not residual:
        stock.shortcut = None
    stock.operators = "stock"
    fused = copy.deepcopy(stock)
    fused.operators = "fused"
    results = []
    for block in (stock, fused):
        x = torch.linspace(-1, 1, 8, dtype=torch.float64).view(1, 2, 1, 2, 2).requires_grad_()
        skip = torch.linspace(-2, 1, 96, dtype=torch.float64).view(1, 3, 2, 4, 4).requires_grad_()
        y = block(x, skip)
        y.square().sum().backward()
        results.append([y.detach(), x.grad, skip.grad, *(p.grad for p in block.parameters())])
        monkeypatch.setattr(blocks.F, "pad", None)
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


def test_an_up_block_leaves_out_the_last_plane_of_an_odd_skip(device):
    torch.manual_seed(0)
    block = UpBlock(MedNeXtSettings(base_channels=2), 2, 3, 2, 3, grn=False).to(device)
    x, skip = torch.randn(1, 2, 1, 2, 2, device=device), torch.randn(1, 3, 1, 4, 3, device=device)
    results = []
    for block.operators in ("fused", "stock"):
        block.zero_grad()
        y = block(x, skip)
        y.square().sum().backward()
        results.append([y.detach(), *(one.grad.clone() for one in block.parameters())])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_derivatives_are_those_of_finite_differences(device):
    if device.type == "cuda":
        pytest.skip("float64 is for the interpreter only")
    given = _tensors(torch.float64, 2, 3, 2, (1, 2, 2), device)
    given = [one.requires_grad_() for one in given]
    assert torch.autograd.gradcheck(lambda *one: bottleneck(*one, False), given, fast_mode=True)


@pytest.mark.slow
def test_operator_is_well_behaved(device):
    given = [one.requires_grad_() for one in _tensors(torch.float32, 2, 3, 4, (1, 2, 2), device)]
    torch.library.opcheck(bottleneck, (*given, False))


def _network_gradients(network, image):
    outputs = network(image, deep_supervision=True)
    sum(one.square().mean() for one in outputs).backward()
    gradients = {name: one.grad for name, one in network.named_parameters() if one.grad is not None}
    return [one.detach() for one in outputs], gradients


@pytest.mark.slow
@pytest.mark.parametrize("size", ["S", "B"])
def test_whole_networks(size, device):
    """In float64 on the CPU, where norms over two voxels amplify rounding beyond the bounds.

    There the two highest resolutions stay stock: the interpreter would take minutes for them.
    """
    torch.manual_seed(0)
    interpreted = device.type == "cpu"
    network = build(mednext(size, 3, 1, 2, 1 if interpreted else 32)).to(device)
    reference = copy.deepcopy(network).double()
    network.operators, reference.operators = "fused", "stock"
    shape = (16, 16, 32) if interpreted else (64, 64, 64)
    image = torch.randn(1, 1, *shape, device=device)
    if interpreted:
        network, image = network.double(), image.double()
        for level in (*network.encoder[:2], *network.decoder[:2]):
            for block in level.modules():
                block.operators = "stock"
    found, gradients = _network_gradients(network, image)
    expected, wanted = _network_gradients(reference, image.double())
    bound = 1e-8 if interpreted else 1e-5
    for one, other in zip(found, expected, strict=True):
        assert _distance(one, other) < bound
    assert gradients.keys() == wanted.keys()
    scale = max(one.norm() for one in wanted.values())
    for name, one in gradients.items():
        # A bias before a norm has no gradient but rounding.
        assert (one - wanted[name]).norm() < bound * max(wanted[name].norm(), 0.01 * scale), name


@pytest.mark.slow
def test_checkpointing_gives_the_same(device):
    network = build(mednext("S", 3, 1, 2, 1)).to(device)
    block = network.bottleneck[0]
    block.operators = "fused"
    x = torch.randn(1, 16, 1, 1, 2, device=device, requires_grad=True)
    block(x).sum().backward()
    plain, x.grad = x.grad, None
    network.checkpointing = True
    network._run([block], x).sum().backward()
    assert torch.equal(x.grad, plain)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(MedNeXtBlock, marks=pytest.mark.slow),
        DownBlock,
        pytest.param(UpBlock, marks=pytest.mark.slow),
    ],
)
def test_a_block_compiles_whole_with_its_gradients(kind, device):
    torch.manual_seed(0)
    block = kind(MedNeXtSettings(base_channels=2), 2, 2, 2, 3, grn=False).to(device)
    block.operators = "fused"
    x = torch.randn(1, 2, 2, 2, 3, device=device).requires_grad_()
    results = []
    for run in (block, torch.compile(block, backend="aot_eager", fullgraph=True)):
        block.zero_grad()
        x.grad = None
        y = run(x)
        y.square().sum().backward()
        results.append([y.detach(), x.grad, *(one.grad.clone() for one in block.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)
