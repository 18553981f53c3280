"""The depthwise operator against PyTorch's in float64."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.kernels import DepthwiseConv3d, depthwise_conv3d
from mednext_cli.networks.mednext.kernels.availability import device_of
from mednext_cli.networks.mednext.kernels.convolution import is_taken
from mednext_cli.networks.mednext.kernels.depthwise import depthwise

_BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
_SLOW = pytest.mark.slow
# kernel, stride, transposed, type, (N, C, D, H, W): the interpreter takes milliseconds a row.
_CASES = [
    (3, 1, False, torch.float32, (1, 1, 1, 1, 1)),
    pytest.param(3, 1, False, torch.float32, (2, 5, 3, 2, 33), marks=_SLOW),
    pytest.param(3, 1, False, torch.bfloat16, (3, 4, 17, 1, 3), marks=_SLOW),
    (3, 2, False, torch.float32, (2, 3, 3, 2, 17)),
    (3, 2, True, torch.float32, (1, 33, 2, 1, 17)),
    (3, 2, True, torch.float16, (3, 2, 1, 2, 3)),
    pytest.param(5, 1, False, torch.float32, (1, 34, 2, 1, 17), marks=_SLOW),
    pytest.param(3, 2, False, torch.bfloat16, (1, 512, 2, 1, 3), marks=_SLOW),
    pytest.param(5, 2, True, torch.bfloat16, (1, 6, 2, 2, 3), marks=_SLOW),
    pytest.param(7, 1, False, torch.bfloat16, (1, 2, 1, 2, 3), marks=_SLOW),
    pytest.param(7, 2, False, torch.float32, (1, 3, 1, 2, 3), marks=_SLOW),
    pytest.param(7, 2, True, torch.float32, (1, 3, 1, 2, 2), marks=_SLOW),
]


def _distance(found, expected):
    return ((found.double() - expected).norm() / expected.norm()).item()


def _stock(x, weight, bias, stride, transposed):
    run = F.conv_transpose3d if transposed else F.conv3d
    padding, groups = weight.shape[-1] // 2, len(weight)
    return run(x, weight, bias, stride=stride, padding=padding, groups=groups)


def _gradients(run, x, weight, bias, slope):
    given = [one.detach().requires_grad_() for one in (x, weight, bias)]
    y = run(*given)
    y.backward(slope.to(y.dtype))
    return [y.detach(), *(one.grad for one in given)]


def _tensors(kernel, dtype, shape, device):
    torch.manual_seed(0)
    x = torch.randn(shape, device=device, dtype=dtype)
    weight = torch.randn(shape[1], 1, kernel, kernel, kernel, device=device)
    return x, weight, torch.randn(shape[1], device=device)


def _compare(x, weight, bias, stride, transposed):
    expected_shape = _stock(x.float(), weight, bias, stride, transposed).shape
    slope = torch.randn(expected_shape, device=x.device).to(x.dtype)
    found = _gradients(
        lambda *given: depthwise_conv3d(*given, stride, transposed, "fused"), x, weight, bias, slope
    )
    doubled = (one.double() for one in (x, weight, bias))
    expected = _gradients(lambda *given: _stock(*given, stride, transposed), *doubled, slope)
    assert found[0].is_contiguous(memory_format=torch.channels_last_3d)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert _distance(one, other) < _BOUNDS[x.dtype]


@pytest.mark.parametrize(("kernel", "stride", "transposed", "dtype", "shape"), _CASES)
def test_output_and_gradients(kernel, stride, transposed, dtype, shape, device):
    x, weight, bias = _tensors(kernel, dtype, shape, device)
    _compare(x, weight, bias, stride, transposed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layout",
    [
        pytest.param("channels last", marks=_SLOW),
        "sliced",
        pytest.param("expanded", marks=_SLOW),
    ],
)
def test_layouts(layout, device):
    x, weight, bias = _tensors(3, torch.float32, (2, 3, 2, 4, 6), device)
    if layout == "channels last":
        x = x.contiguous(memory_format=torch.channels_last_3d)
    x = {"sliced": x[..., ::2, 1:], "expanded": x[:1].expand(2, -1, -1, -1, -1)}.get(layout, x)
    _compare(x, weight, bias, 1, False)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
def test_moments_are_exact_far_from_zero(stride, transposed, device):
    x, weight, bias = _tensors(3, torch.float32, (2, 3, 2, 3, 5), device)
    y, mean, variance = depthwise(x, weight, bias + 1000, stride, transposed, True)
    rows = y.double().flatten(2)
    assert _distance(mean, rows.mean(2)) < 1e-6
    assert _distance(variance, rows.var(2, correction=0)) < 1e-4


@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
def test_gradients_through_the_moments_are_not_lost_in_half_precision(stride, transposed, device):
    """1 + 2^-10 is 1 in bfloat16: a sum rounded to it would lose the mean's gradient."""
    x, weight, bias = _tensors(3, torch.bfloat16, (1, 2, 1, 2, 3), device)
    bias.requires_grad_()
    y, mean, _ = depthwise(x, weight, bias, stride, transposed, True)
    signs = torch.ones(y[0, 0].numel(), device=device)
    signs[1::2] = -1
    voxels = y[0, 0].numel()
    ((y.float() * signs.view(y.shape[2:])).sum() + mean.sum() * voxels * 2.0**-10).backward()
    expected = signs.sum() + voxels * 2.0**-10
    torch.testing.assert_close(bias.grad, expected.expand(2), rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
def test_derivatives_are_those_of_finite_differences(stride, transposed, device):
    given = _tensors(3, torch.float64, (1, 2, 1, 2, 2), device)
    given = [one.double().requires_grad_() for one in given]
    assert torch.autograd.gradcheck(
        lambda *one: depthwise(*one, stride, transposed, True), given, fast_mode=True
    )


@pytest.mark.slow
def test_operator_is_well_behaved(device):
    x, weight, bias = (
        one.requires_grad_() for one in _tensors(3, torch.float32, (1, 2, 1, 2, 3), device)
    )
    for way in ((1, False, False), (1, False, True), (2, False, True), (2, True, True)):
        torch.library.opcheck(depthwise, (x, weight, bias, *way))


@pytest.mark.slow
def test_results_are_the_same_in_every_run(device):
    x, weight, bias = _tensors(3, torch.float32, (1, 2, 3, 2, 5), device)
    run = [
        _gradients(lambda *one: depthwise_conv3d(*one, operators="fused"), x, weight, bias, x)
        for _ in range(2)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*run, strict=True))


def test_frozen_weights_and_no_bias(device):
    x, weight, _ = _tensors(3, torch.float32, (1, 2, 1, 2, 3), device)
    x.requires_grad_()
    depthwise_conv3d(x, weight, operators="fused").sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("layout", ["strided", "expanded"])
def test_a_bias_that_is_not_contiguous(layout, device):
    x, weight, _ = _tensors(3, torch.float32, (1, 2, 1, 1, 2), device)
    three = torch.tensor([1.0, 9.0, 2.0], device=device)
    bias = three[::2] if layout == "strided" else three[:1].expand(2)
    found = depthwise_conv3d(x, weight, bias, operators="fused")
    torch.testing.assert_close(found, _stock(x, weight, bias, 1, False))


@pytest.mark.parametrize(
    "bias", [torch.ones(1), torch.ones(2).double(), torch.ones(2, device="meta")]
)
@pytest.mark.parametrize("operators", ["fused", "stock"])
def test_a_bias_that_does_not_fit_is_an_error(bias, operators):
    x, weight, _ = _tensors(3, torch.float32, (1, 2, 1, 1, 2), torch.device("cpu"))
    with pytest.raises(SettingsError, match="a bias of shape"):
        depthwise_conv3d(x, weight, bias, operators=operators)


def test_a_weight_elsewhere_is_an_error():
    with pytest.raises(SettingsError, match="on meta"):
        depthwise_conv3d(torch.ones(1, 2, 3, 3, 3), torch.ones(2, 1, 3, 3, 3, device="meta"))


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 2, 0, 3, 3), torch.float32), ((1, 2, 3, 3, 3), torch.int32)]
)
def test_odd_images_are_refused_as_by_pytorch(shape, dtype, device):
    x, weight = torch.ones(shape, dtype=dtype, device=device), torch.ones(2, 1, 3, 3, 3).to(device)
    messages = []
    for operators in ("stock", "fused"):
        with pytest.raises(RuntimeError) as error:
            depthwise_conv3d(x, weight, operators=operators)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_an_empty_batch_is_empty(device):
    x, weight = torch.ones(0, 2, 3, 4, 5).to(device), torch.ones(2, 1, 3, 3, 3).to(device)
    assert depthwise_conv3d(x, weight, operators="fused").shape == (0, 2, 3, 4, 5)


def test_the_type_under_autocast_is_learnt_without_a_cast(device):
    x, weight, _ = _tensors(3, torch.float32, (1, 2, 1, 1, 2), device)
    called = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    with torch.autocast(device.type, torch.bfloat16), Watch():
        assert is_taken("fused", x, weight)
    assert called == []


def test_autocast_casts_the_image(device):
    x, weight, bias = _tensors(3, torch.float32, (1, 2, 1, 2, 3), device)
    with torch.autocast(device.type, torch.bfloat16):
        assert depthwise_conv3d(x, weight, bias, operators="fused").dtype is torch.bfloat16


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_tensor_on_a_gpu_that_is_not_the_current_one():
    x, weight, bias = _tensors(3, torch.float32, (1, 2, 1, 2, 3), torch.device("cuda:1"))
    found = depthwise_conv3d(x, weight, bias, operators="fused")
    torch.testing.assert_close(found, _stock(x, weight, bias, 1, False))


def test_kernels_are_launched_on_the_tensors_gpu(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device", chosen.append)
    device_of(SimpleNamespace(is_cuda=True, device="cuda:1"))
    with device_of(torch.ones(1)):
        pass
    assert chosen == ["cuda:1"]


def test_compiles(device):
    x, weight, bias = _tensors(3, torch.float32, (1, 2, 1, 2, 3), device)
    run = torch.compile(
        lambda *one: depthwise_conv3d(*one, operators="fused") * 2,
        backend="aot_eager",
        fullgraph=True,
    )
    torch.testing.assert_close(run(x, weight, bias), 2 * _stock(x, weight, bias, 1, False))


@pytest.mark.parametrize(("stride", "transposed"), [(1, False), (2, False), (2, True)])
def test_module_is_a_drop_in(stride, transposed):
    kind = torch.nn.ConvTranspose3d if transposed else torch.nn.Conv3d
    stock = kind(3, 3, 3, stride=stride, padding=1, groups=3)
    module = DepthwiseConv3d(3, 3, stride, transposed=transposed)
    module.load_state_dict(stock.state_dict())
    x = torch.randn(1, 3, 4, 5, 3)
    assert torch.equal(module(x), stock(x))


def test_fused_without_a_gpu_is_an_error(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(SettingsError, match="needs an NVIDIA GPU"):
        depthwise_conv3d(torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 3, 3, 3), operators="fused")


def test_fused_without_triton_is_an_error(monkeypatch):
    from mednext_cli.networks.mednext.kernels import availability

    monkeypatch.setattr(availability, "has_triton", lambda: False)
    with pytest.raises(SettingsError, match="needs Triton"):
        depthwise_conv3d(torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 3, 3, 3), operators="fused")
    y = depthwise_conv3d(torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 3, 3, 3))
    assert y.item() == 1
