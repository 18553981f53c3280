"""The three ways from one resolution to the next."""

import pytest
import torch

from mednext_cli.networks.mednext import cpu
from mednext_cli.networks.mednext.plain_resampling import PlainDown, PlainUp
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.upkern import plan_upkern
from mednext_cli.scaling.complexity import count_complexity
from tests.networks.made import build, mednext

WAYS = ("residual", "inverted", "plain")


def _shapes(resampling, **settings):
    with torch.device("meta"):
        network = build(mednext(base_channels=4, resampling=resampling, **settings))
    return {name: tuple(weights.shape) for name, weights in network.state_dict().items()}


@pytest.mark.parametrize("resampling", WAYS)
@pytest.mark.parametrize("settings", [{}, {"dimensions": 2}, {"norm": "layer"}, {"grn": True}])
def test_logits_have_the_size_of_the_image(resampling, settings):
    network = build(mednext(base_channels=3, resampling=resampling, **settings))
    shape = (16, 32, 16)[: settings.get("dimensions", 3)]
    with torch.no_grad():
        outputs = network(torch.randn(1, 1, *shape), deep_supervision=True)
    assert [tuple(one.shape[2:]) for one in outputs] == [
        tuple(axis // 2**level for axis in shape) for level in range(5)
    ]


def test_inverted_is_residual_without_its_shortcut():
    residual, inverted = _shapes("residual"), _shapes("inverted")
    assert inverted == {
        name: shape
        for name, shape in residual.items()
        if not ("shortcut" in name and (".down." in name or ".up." in name))
    }


def test_plain_is_a_norm_and_a_convolution_of_two_voxels():
    shapes = _shapes("plain", kernel=5)
    assert {
        name: shape for name, shape in shapes.items() if name.startswith("encoder.1.down.")
    } == {
        "encoder.1.down.norm.weight": (8,),
        "encoder.1.down.norm.bias": (8,),
        "encoder.1.down.convolution.weight": (16, 8, 2, 2, 2),
        "encoder.1.down.convolution.bias": (16,),
    }
    assert {name: shape for name, shape in shapes.items() if name.startswith("decoder.1.up.")} == {
        "decoder.1.up.norm.weight": (16,),
        "decoder.1.up.norm.bias": (16,),
        "decoder.1.up.convolution.weight": (16, 8, 2, 2, 2),
        "decoder.1.up.convolution.bias": (8,),
    }


@pytest.mark.parametrize(("kind", "out_channels"), [(PlainDown, 6), (PlainUp, 2)])
def test_plain_keeps_channels_last(kind, out_channels):
    image = cpu.channels_last(torch.randn(1, 3, 4, 4, 4))
    result = kind(MedNeXtSettings(), 3, out_channels)(image)
    assert result.is_contiguous(memory_format=torch.channels_last_3d)


def test_kernels_of_a_plain_network_grow_in_its_blocks_alone():
    small, large = (
        {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        for shapes in (_shapes("plain"), _shapes("plain", kernel=5))
    )
    grown = [step.name for step in plan_upkern(small, large) if step.action != "copy"]
    assert grown == [name for name in small if name.endswith("depthwise.weight")]
    assert not any(".down." in name or ".up." in name for name in grown)


def test_the_former_name_is_read():
    for said, resampling in ((True, "residual"), (False, "inverted")):
        former = MedNeXtSettings.model_validate({"residual_resampling": said})
        assert former == MedNeXtSettings(resampling=resampling)


def test_a_width_brings_the_arms_to_the_same_parameters():
    """Each arm's own size, and the plain one's width that comes nearest to the residual one."""
    millions = {
        (resampling, width): count_complexity(
            mednext("S", 3, 1, 2, width, resampling=resampling), (32, 32, 32)
        ).parameters
        / 1e6
        for resampling, width in (*((way, 32) for way in WAYS), ("plain", 30))
    }
    assert millions["inverted", 32] < millions["residual", 32] < millions["plain", 32]
    assert millions["plain", 30] == pytest.approx(millions["residual", 32], rel=0.03)
