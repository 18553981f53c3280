"""The fused block, and networks made of it, against the stock ones."""

import copy

import pytest
import torch

from mednext_cli.networks.mednext.blocks import DownBlock, MedNeXtBlock, UpBlock
from mednext_cli.networks.mednext.kernels.block import _library, bottleneck
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from tests.networks.made import build, mednext

_BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float64: 1e-12}


def _distance(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


def _tensors(dtype, channels, hidden, out, shape, device):
    torch.manual_seed(0)
    sizes = [(2, channels, *shape), (2, channels), (2, channels), (hidden, channels, 1, 1, 1)]
    sizes += [(hidden,), (out, hidden, 1, 1, 1), (out,), (2, out, *shape)]
    made = [torch.randn(size, device=device) for size in sizes]
    made[3] /= channels**0.5
    made[5] /= hidden**0.5
    double = dtype is torch.float64
    return [one.to(dtype) if double or i in (0, 7) else one for i, one in enumerate(made)]


def _gradients(run, given, slope):
    given = [one.detach().requires_grad_() for one in given]
    y = run(*given)
    y.backward(slope.to(y.dtype))
    return [y.detach(), *(one.grad for one in given)]


@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [
        (torch.float32, (1, 2, 3, (1, 1, 2))),
        (torch.float32, (32, 96, 16, (3, 5, 7))),
        (torch.bfloat16, (32, 64, 64, (3, 17, 3))),
        (torch.float64, (17, 40, 5, (2, 3, 33))),
    ],
)
def test_output_and_gradients(dtype, sizes, device):
    if dtype is torch.float64 and device.type == "cuda":
        pytest.skip("float64 is for the interpreter only")
    given = _tensors(dtype, *sizes, device)
    slope = torch.randn(given[7].shape, device=device).to(dtype)
    found = _gradients(bottleneck, given, slope)
    expected = _gradients(_library, [one.double() for one in given], slope)
    for one, other in zip(found, expected, strict=True):
        assert _distance(one, other) < _BOUNDS[dtype]


@pytest.mark.slow
def test_derivatives_are_those_of_finite_differences(device):
    if device.type == "cuda":
        pytest.skip("float64 is for the interpreter only")
    given = _tensors(torch.float64, 2, 3, 2, (1, 2, 2), device)
    given = [one.requires_grad_() for one in given]
    assert torch.autograd.gradcheck(bottleneck, given, fast_mode=True)


@pytest.mark.slow
def test_operator_is_well_behaved(device):
    given = [one.requires_grad_() for one in _tensors(torch.float32, 2, 3, 4, (1, 2, 2), device)]
    torch.library.opcheck(bottleneck, tuple(given))


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
