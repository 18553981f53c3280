"""The compiled kernels compute what PyTorch's operators compute in double precision."""

import threading
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.networks.mednext import blocks, cpu
from mednext_cli.networks.mednext.native import library as native
from mednext_cli.networks.mednext.native import threads
from mednext_cli.networks.mednext.native.layers import Bottleneck, Depthwise, library_of
from mednext_cli.networks.mednext.native.library import library_for
from mednext_cli.networks.mednext.native.operators import block, convolve
from mednext_cli.networks.mednext.native.threads import run_parts
from mednext_cli.networks.mednext.native.training import train_block
from mednext_cli.scaling.dry_run import DryNetwork
from tests.networks.made import build, mednext

pytestmark = pytest.mark.skipif(
    not native.libraries(),
    reason="the kernels were not compiled for this processor: python setup/build_native.py",
)
LANES = min((library.lanes for library in native.libraries()), default=8)
_STEPS = st.sampled_from([(1, False), (2, False), (2, True)])
_SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 45))


def _image(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last_3d)


def _depthwise(channels: int, kernel: int, step: tuple[int, bool]) -> Depthwise:
    weight = torch.randn(channels, 1, kernel, kernel, kernel) / kernel**1.5
    return Depthwise(weight, torch.randn(channels), *step)


def _bottleneck(channels: int, hidden: int, out: int) -> Bottleneck:
    def layer(rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return torch.randn(rows, columns, 1, 1, 1) / columns**0.5, torch.randn(rows)

    norm = torch.rand(channels) + 0.5, torch.randn(channels)
    return Bottleneck(norm, 1e-5, layer(hidden, channels), layer(out, hidden))


def _exact(x: Tensor, depthwise: Depthwise) -> Tensor:
    weight, bias, stride, transposed = depthwise
    convolution = F.conv_transpose3d if transposed else F.conv3d
    padding, groups = weight.shape[-1] // 2, x.shape[1]
    return convolution(x.double(), weight.double(), bias.double(), stride, padding, groups=groups)


def _exact_block(x: Tensor, depthwise: Depthwise, bottleneck: Bottleneck) -> Tensor:
    z = _exact(x, depthwise)
    norm, expand, compress = (
        [one.double() for one in pair] for pair in (bottleneck.norm, *bottleneck[2:])
    )
    normalised = F.group_norm(z, z.shape[1], *norm, bottleneck.epsilon)
    return F.conv3d(F.gelu(F.conv3d(normalised, *expand)), *compress)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7]),
    step=_STEPS,
    shape=_SHAPES,
    vectors=st.integers(1, 3),
    mean=st.sampled_from([0.0, 100.0]),
)
def test_convolutions_and_their_moments(kernel, step, shape, vectors, mean):
    torch.manual_seed(0)
    channels = vectors * LANES
    x, depthwise = _image(2, channels, *shape) + mean, _depthwise(channels, kernel, step)
    library = library_for(channels)
    assert library is not None
    result, means, variances = convolve(library, x, depthwise)
    expected = _exact(x, depthwise)
    scale = expected.abs().max()
    assert (result - expected).abs().max() < 2e-6 * scale
    assert (means - expected.mean((2, 3, 4))).abs().max() < 1e-6 * scale
    spread = expected.var((2, 3, 4), unbiased=False)
    assert (variances - spread).abs().max() < 1e-5 * spread.max() + 1e-10 * scale**2


@settings(max_examples=25, deadline=None)
@given(
    step=_STEPS,
    shape=st.tuples(st.integers(3, 6), st.integers(3, 9), st.integers(3, 21)),
    widths=st.tuples(*[st.integers(1, 5)] * 3),
    with_residual=st.booleans(),
)
def test_whole_blocks(step, shape, widths, with_residual):
    torch.manual_seed(0)
    channels, hidden, out = (LANES * width for width in widths)
    x, depthwise = _image(2, channels, *shape), _depthwise(channels, 3, step)
    bottleneck = _bottleneck(channels, hidden, out)
    expected, library = _exact_block(x, depthwise, bottleneck), library_for(channels, hidden, out)
    residual = torch.randn(expected.shape) if with_residual else None
    kept = x.clone()
    result = block(library, x, depthwise, bottleneck, residual)
    whole = expected if residual is None else expected + residual
    assert (result - whole).abs().max() < 1e-5 * whole.abs().max()
    assert torch.equal(x, kept)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.sampled_from([3, 5, 7]),
    step=_STEPS,
    shape=st.tuples(st.integers(3, 6), st.integers(3, 9), st.integers(3, 30)),
    widths=st.tuples(*[st.integers(1, 4)] * 3),
)
def test_gradients_of_whole_blocks(kernel, step, shape, widths):
    torch.manual_seed(0)
    channels, hidden, out = (LANES * width for width in widths)
    x, depthwise = _image(2, channels, *shape), _depthwise(channels, kernel, step)
    bottleneck = _bottleneck(channels, hidden, out)
    library = library_for(channels, hidden, out)
    residual = torch.randn(_exact_block(x, depthwise, bottleneck).shape)
    weights = [*depthwise[:2], *bottleneck.norm, *bottleneck.expand, *bottleneck.compress]
    ends = [one.requires_grad_() for one in (x, residual, *weights)]
    gradient = torch.randn(residual.shape)
    ours = train_block(library, x, depthwise, bottleneck, residual)
    exact = _exact_block(x, depthwise, bottleneck) + residual
    assert (ours - exact).abs().max() < 1e-5 * exact.abs().max()
    found = torch.autograd.grad(ours, ends, gradient)
    expected = torch.autograd.grad(exact, ends, gradient.double())
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        if number != 3:  # the bias in front of a norm has no gradient but for rounding
            assert (one - other).norm() < 1e-5 * other.norm(), number


def test_a_frozen_image_and_frozen_weights_get_no_gradient():
    x, depthwise = _image(1, LANES, 3, 3, 3), _depthwise(LANES, 3, (1, False))
    bottleneck = _bottleneck(LANES, LANES, LANES)
    depthwise.weight.requires_grad_()
    train_block(library_for(LANES), x, depthwise, bottleneck, None).sum().backward()
    assert depthwise.weight.grad is not None
    assert x.grad is None
    assert bottleneck.expand[0].grad is None


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    monkeypatch.setattr(threads, "WORTH_SHARING", 0)
    torch.manual_seed(0)
    x, depthwise = _image(1, 2 * LANES, 7, 11, 13), _depthwise(2 * LANES, 5, (1, False))
    bottleneck = _bottleneck(2 * LANES, 4 * LANES, 2 * LANES)
    library, before = library_for(2 * LANES), torch.get_num_threads()
    ends = [x.clone().requires_grad_(), depthwise.weight.requires_grad_(), *bottleneck.expand]
    ends[2].requires_grad_()
    results = []
    try:
        for number in (1, 2, 5):
            torch.set_num_threads(number)
            trained = train_block(library, ends[0], depthwise, bottleneck, None)
            gradients = torch.autograd.grad(trained.square().sum(), ends[:3])
            results.append((block(library, x, depthwise, bottleneck, x), trained, *gradients))
    finally:
        torch.set_num_threads(before)
    for others in results[1:]:
        assert all(torch.equal(*pair) for pair in zip(results[0], others, strict=True))


@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 1, 1), (16, 18, 20)])
def test_an_image_that_is_its_own_residual_has_both_gradients(shape):
    torch.manual_seed(0)
    x, depthwise = _image(2, LANES, *shape).requires_grad_(), _depthwise(LANES, 3, (1, False))
    bottleneck = _bottleneck(LANES, 3 * LANES, LANES)
    library = library_for(LANES)
    apart = x.detach().clone().requires_grad_()
    of_result = torch.randn(x.shape)
    together = train_block(library, x, depthwise, bottleneck, x)
    separate = train_block(library, x, depthwise, bottleneck, apart)
    assert torch.equal(together, separate)
    (found,) = torch.autograd.grad(together, x, of_result)
    of_image, of_residual = torch.autograd.grad(separate, (x, apart), of_result)
    torch.testing.assert_close(found, of_image + of_residual)


def test_what_the_norm_takes_away_has_no_gradient():
    torch.manual_seed(0)
    x, depthwise = _image(2, LANES, 5, 6, 7), _depthwise(LANES, 3, (1, False))
    bias = depthwise.bias.requires_grad_()
    bottleneck = _bottleneck(LANES, 2 * LANES, LANES)
    result = train_block(library_for(LANES), x, depthwise, bottleneck, None)
    (gradient,) = torch.autograd.grad(result.square().sum(), bias)
    assert torch.equal(gradient, torch.zeros(LANES))


def test_gelu_is_exact_wherever_it_is_asked():
    """Through a block that passes its channels on."""
    values = torch.linspace(-12, 12, 4096 * LANES).reshape(1, LANES, 16, 16, 16)
    identity = torch.eye(LANES)[..., None, None, None]
    taps = torch.zeros(LANES, 1, 3, 3, 3)
    taps[:, :, 1, 1, 1] = 1.0
    mean, deviation = values.mean((0, 2, 3, 4)), values.std((0, 2, 3, 4), unbiased=False)
    bottleneck = Bottleneck(
        (deviation, mean), 0.0, (identity, torch.zeros(LANES)), (identity, torch.zeros(LANES))
    )
    depthwise = Depthwise(taps, torch.zeros(LANES))
    result = block(library_for(LANES), values, depthwise, bottleneck, None)
    assert (result - F.gelu(values.double())).abs().max() < 3e-6


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_network_takes_them_where_it_can(kernel, monkeypatch):
    torch.manual_seed(0)
    network = build(mednext("S", kernel, 1, 3, 2 * LANES)).eval()
    image, taken = torch.randn(1, 1, 16, 32, 16), []

    def noting(library, *arguments):
        taken.append(library)
        return block(library, *arguments)

    monkeypatch.setattr(blocks, "block", noting)
    with torch.no_grad():
        ours = network(image)
        assert len(taken) == 26
        monkeypatch.setattr(blocks, "library_of", lambda *_: None)
        stock = network(image)
    assert len(taken) == 26
    assert (ours - stock).abs().max() < 1e-5 * stock.abs().max()


def test_what_they_cannot_compute_is_left_to_pytorch():
    depthwise, bottleneck = _depthwise(8 * LANES, 3, (1, False)), _bottleneck(*[8 * LANES] * 3)
    x = _image(1, 8 * LANES, 2, 2, 2)
    assert library_of(x, depthwise, bottleneck) is not None
    assert library_of(x.double(), depthwise, bottleneck) is None
    assert library_of(x.bfloat16(), depthwise, bottleneck) is None
    nine = _depthwise(8 * LANES, 9, (1, False))
    assert library_of(x, nine, bottleneck) is None
    assert library_of(x, depthwise, _bottleneck(8 * LANES, 8 * LANES, LANES // 2)) is None
    assert library_of(x[:0], depthwise, bottleneck) is None
    for count in (7 * LANES, 4 * LANES, 9 * LANES):  # the kernels would leave their tensors
        assert library_of(_image(1, count, 2, 2, 2), depthwise, bottleneck) is None
    for kind in (torch.float64, torch.bfloat16):
        odd = bottleneck._replace(compress=tuple(one.to(kind) for one in bottleneck.compress))
        assert library_of(x, depthwise, odd) is None
        assert library_of(x, depthwise._replace(weight=depthwise.weight.to(kind)), odd) is None
    assert library_of(x, depthwise._replace(weight=depthwise.weight.to("meta")), bottleneck) is None
    with torch._subclasses.FakeTensorMode() as mode:  # of estimates: there are no values
        assert library_of(mode.from_tensor(x), depthwise, bottleneck) is None


def test_a_residual_is_spread_as_pytorch_does():
    x, depthwise = _image(2, LANES, 4, 4, 4), _depthwise(LANES, 3, (1, False))
    bottleneck, library = _bottleneck(LANES, LANES, LANES), library_for(LANES)
    residual = torch.randn(1, LANES, 1, 1, 1, requires_grad=True)
    alone = train_block(library, x, depthwise, bottleneck, None)
    together = train_block(library, x, depthwise, bottleneck, residual)
    torch.testing.assert_close(together, alone + residual)
    together.sum().backward()
    torch.testing.assert_close(residual.grad, torch.full_like(residual, 128.0))
    with pytest.raises(RuntimeError, match="expand"):
        train_block(library, x, depthwise, bottleneck, torch.randn(2, LANES, 3, 4, 4))


@pytest.mark.parametrize("shape", [(3, 4, 2), (1, 1, 1), (1, 2, 3)])
def test_a_residual_of_even_voxels_is_as_one_with_zeros_between(shape):
    torch.manual_seed(0)
    x, depthwise = _image(2, 2 * LANES, *shape), _depthwise(2 * LANES, 3, (2, True))
    bottleneck = _bottleneck(2 * LANES, LANES, LANES)
    library = library_for(LANES, 2 * LANES)
    few = torch.randn(2, LANES, *shape, requires_grad=True)
    whole = torch.zeros(2, LANES, *(2 * length - 1 for length in shape))
    whole[:, :, ::2, ::2, ::2] = few.detach()
    expected = train_block(library, x, depthwise, bottleneck, whole)
    found = train_block(library, x, depthwise, bottleneck, few)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(block(library, x, depthwise, bottleneck, few), expected)
    slope = torch.randn_like(found)
    (gradient,) = torch.autograd.grad(found, few, slope)
    assert torch.equal(gradient, slope[:, :, ::2, ::2, ::2])


class _Adapted(nn.Module):
    """A layer that someone put around another, as adapters for fine-tuning are."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x):
        return 2 * self.layer(x)


@pytest.mark.parametrize("name", ["expand", "compress"])
@pytest.mark.parametrize("training", [True, False])
def test_layers_that_someone_replaced_are_called(name, training):
    settings, x = mednext("S", 3, 1, 3, LANES).settings, _image(1, LANES, 4, 4, 4)
    own = blocks.MedNeXtBlock(settings, LANES, LANES, 2, 3, grn=False)
    setattr(own, name, _Adapted(getattr(own, name)))
    expected = own.compress(F.gelu(own.expand(own.norm(own.depthwise(x))))) + x
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(own(x), expected)


class _Bare(nn.Module):
    """A layer around another, without weights of its own."""

    def __init__(self, layer):
        super().__init__()
        self.inner = layer

    def forward(self, x):
        return 3 * self.inner(x)


@pytest.mark.parametrize("around", [_Adapted, _Bare])
@pytest.mark.parametrize("training", [True, False])
def test_so_is_the_shortcut_of_an_upsampling_block(around, training):
    settings, x = mednext("S", 3, 1, 3, LANES).settings, _image(1, LANES, 4, 4, 4)
    own = blocks.UpBlock(settings, LANES, LANES, 2, 3, grn=False)
    own.shortcut = around(own.shortcut)
    skip = torch.randn(1, LANES, 8, 8, 8)
    inner = own.compress(F.gelu(own.expand(own.norm(own.depthwise(x))))) + own.shortcut(x)
    expected = F.pad(inner, (1, 0) * 3) + skip
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(own(x, skip), expected)


def test_an_upsampling_blocks_shortcut_has_its_hooks():
    settings, seen = mednext("S", 3, 1, 3, LANES).settings, []
    own = blocks.UpBlock(settings, LANES, LANES, 2, 3, grn=False)
    x = _image(1, LANES, 4, 4, 4)
    expected = own(x)
    own.shortcut.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    torch.testing.assert_close(own(x), expected)
    assert [one.shape[2:] for one in seen] == [(7, 7, 7)]


def test_a_skip_of_another_size_is_refused():
    settings = mednext("S", 3, 1, 3, LANES).settings
    own = blocks.UpBlock(settings, LANES, LANES, 2, 3, grn=False)
    with torch.no_grad(), pytest.raises(RuntimeError, match="size"):
        own(_image(1, LANES, 2, 2, 2), torch.randn(1, LANES, 2, 4, 4))
    both = own(_image(2, LANES, 2, 2, 2), torch.randn(1, LANES, 4, 4, 4))
    assert both.shape == (2, LANES, 4, 4, 4)


@pytest.mark.parametrize("types", [(torch.float32,) * 2, (torch.bfloat16, torch.float32)])
def test_one_image_behind_the_first_voxels_of_another(types):
    torch.manual_seed(0)
    image, added = torch.randn(2, 3, 4, 2, 5), torch.randn(2, 3, 3, 1, 4)
    image, added = image.to(types[0]).requires_grad_(), added.to(types[1]).requires_grad_()
    results = [cpu.add_behind_first(image, added), image + F.pad(added, (1, 0) * 3)]
    assert torch.equal(*results)
    slope = torch.randn_like(results[0])
    ours, others = (torch.autograd.grad(one, (image, added), slope) for one in results)
    assert all(map(torch.equal, ours, others))


def test_an_exception_comes_out_when_no_part_is_running_any_more():
    ended, threads = [], torch.get_num_threads()
    both_run = threading.Barrier(2)

    def work(begin, end):
        both_run.wait(timeout=600)
        if begin == 0:
            raise KeyboardInterrupt
        time.sleep(0.2)
        ended.append(begin)

    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            run_parts([(0, 1), (1, 2)], work, torch.zeros(1))
    finally:
        torch.set_num_threads(threads)
    assert ended == [1]


def test_estimates_for_a_cpu_know_that_expanded_activations_are_never_whole(monkeypatch):
    spec = mednext("S", 3, 1, 3, 4 * LANES)
    ours = DryNetwork(spec, "cpu").train((32, 32, 32), 1)
    gpus = DryNetwork(spec, "cuda").train((32, 32, 32), 1)
    monkeypatch.setattr(blocks, "library_of", lambda *_: None)
    without = DryNetwork(spec, "cpu").train((32, 32, 32), 1)
    assert ours.work == without.work
    assert gpus.peak_bytes == without.peak_bytes
    assert ours.peak_bytes < 0.6 * without.peak_bytes


def test_a_library_of_other_sources_is_left_alone_with_a_word(monkeypatch, caplog):
    monkeypatch.setattr(native, "_stamp", lambda: 1)
    native.libraries.cache_clear()
    try:
        assert native.libraries() == ()
    finally:
        monkeypatch.undo()
        native.libraries.cache_clear()
    assert "is not of the C files beside it" in caplog.text
    assert native.libraries()
