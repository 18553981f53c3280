"""Choices in force: how blocks run, how weights lie, and what is refused."""

import copy

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.family import FAMILY
from mednext_cli.networks.mednext.kernels import tiles, tilings
from mednext_cli.networks.mednext.kernels.measuring.choices import Choices, apply_choices
from mednext_cli.networks.mednext.kernels.measuring.shapes import find_blocks
from mednext_cli.networks.workload import Workload
from tests.networks.made import build, mednext

SPEC = mednext("S", 3, 1, 2, 2)
PATCH = (16, 16, 32)


@pytest.fixture(autouse=True)
def as_before():
    """Tiles, threads and cuDNN's flag are the process's."""
    preferred, threads = dict(tilings._preferred), torch.get_num_threads()
    benchmark = torch.backends.cudnn.benchmark
    yield
    tilings._preferred.clear()
    tilings._preferred.update(preferred)
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = benchmark


def _choices(way, **changes):
    blocks = find_blocks(Workload(SPEC, PATCH, 1, torch.float32, True, torch.device("cpu")))
    usual = {"layout": "channels_last", "benchmark": False, "threads": None}
    chosen = {name: {"way": way, "width": 8} for name in blocks}
    return Choices(device="here", **usual | changes, blocks=chosen).model_dump(mode="json")


def _image():
    return torch.randn(1, 1, *PATCH, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("way", ["pytorch", "arranged"])
def test_every_way_on_a_cpu_gives_the_same_numbers(way, layout):
    stock = build(SPEC).double()
    expected = stock(_image().double())
    network = copy.deepcopy(stock)
    apply_choices(network, _choices(way, layout=layout))
    torch.testing.assert_close(network(_image().double()), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("way", "layout"), [("arranged", "channels_last"), ("pytorch", "contiguous")]
)
def test_images_keep_the_layout_through_the_network(way, layout):
    network, seen = build(SPEC), []
    apply_choices(network, _choices(way, layout=layout))
    for level in (0, 2):
        network.encoder[level].blocks[1].register_forward_pre_hook(
            lambda _, inputs: seen.append(inputs[0].stride(1) == 1)
        )
    network(_image())
    assert seen == [layout == "channels_last"] * 2


def test_pytorchs_own_way_takes_none_of_ours(monkeypatch):
    network = build(SPEC)
    apply_choices(network, _choices("pytorch"))
    monkeypatch.setattr(
        "mednext_cli.networks.mednext.cpu.depthwise", lambda *_: pytest.fail("was arranged")
    )
    network(_image()).sum().backward()


@pytest.mark.slow
def test_chosen_triton_runs_the_fused_operators_and_stock_does_not(monkeypatch):
    network = build(SPEC)
    network.operators = "stock"
    expected = network(_image())
    network.operators = "auto"
    chosen = _choices("pytorch")
    chosen["blocks"]["bottleneck.0"]["way"] = "triton"
    apply_choices(network, chosen)
    from mednext_cli.networks.mednext.kernels import block

    fused, called = block.block, []
    monkeypatch.setattr(block, "block", lambda *given: called.append("fused") or fused(*given))
    torch.testing.assert_close(network(_image()), expected, atol=1e-4, rtol=1e-4)
    assert called == ["fused"]
    network.operators = "stock"
    network(_image())
    assert called == ["fused"]


def test_preferred_tiles_are_those_of_the_chosen_blocks_alone():
    usual = tiles.convolution_tile(3, 8, 32, 4)
    other = tiles.convolution_tile(3, 8, 16, 4)
    network = build(SPEC)
    chosen = _choices("pytorch")
    chosen["blocks"]["bottleneck.0"]["way"] = "triton:narrow"  # 32 channels
    apply_choices(network, chosen)
    assert 2 * tiles.convolution_tile(3, 8, 32, 4).width == usual.width
    assert 2 * tiles.weight_gradient_tile(3, 8, 32, 4, 1).width == usual.width
    assert tiles.convolution_tile(3, 8, 16, 4) == other


def test_weights_are_laid_out_as_images_are():
    network = build(SPEC)
    apply_choices(network, _choices("pytorch", layout="channels_last"))
    weights = network.encoder[0].blocks[0].expand.weight
    assert weights.is_contiguous(memory_format=torch.channels_last_3d)
    apply_choices(network, _choices("pytorch", layout="contiguous"))
    assert weights.stride() == torch.empty(weights.shape).stride()


def test_threads_are_never_more_than_there_were():
    torch.set_num_threads(2)
    apply_choices(build(SPEC), _choices("arranged", threads=1))
    assert torch.get_num_threads() == 1
    apply_choices(build(SPEC), _choices("arranged", threads=64))
    assert torch.get_num_threads() == 1


def test_cudnn_tries_its_algorithms_where_that_was_chosen():
    apply_choices(build(SPEC), _choices("pytorch", benchmark=True))
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize("damage", ["another network", "a way that is none", "no layout"])
def test_choices_that_cannot_be_are_refused(damage):
    chosen = _choices("pytorch")
    if damage == "another network":
        del chosen["blocks"]["bottleneck.1"]
    elif damage == "a way that is none":
        chosen["blocks"]["bottleneck.1"]["way"] = "magic"
    else:
        del chosen["layout"]
    with pytest.raises(SettingsError, match="damaged or of another network"):
        FAMILY.set_operators(build(SPEC), "auto", torch.device("cpu"), chosen)


def test_who_insists_is_not_asked_what_was_measured():
    network = build(SPEC)
    FAMILY.set_operators(network, "stock", torch.device("cpu"), _choices("arranged"))
    assert {block.way for block in network.bottleneck} == {""}
