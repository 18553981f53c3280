"""The network as a whole: shapes, switches, and sizes it cannot take."""

import pytest
import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.mednext.family import FAMILY
from mednext_cli.networks.mednext.settings import MedNeXtSettings
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.networks.spec import read_spec
from tests.networks.made import build, mednext


def _small(**settings):
    torch.manual_seed(0)
    kernel = None if "encoder_kernel" in settings else 3
    return build(mednext("S", kernel, 1, 2, 4, **settings))


def _gradients(network, image, deep):
    network.zero_grad()
    outputs = network(image, deep_supervision=deep)
    sum(one.square().mean() for one in (outputs if deep else [outputs])).backward()
    return [p.grad.clone() for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("size", VARIANTS)
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_every_size_runs_in_two_and_three_dimensions(size, dimensions, norm):
    network = build(mednext(size, 3, 2, 3, 2, dimensions=dimensions, norm=norm))
    shape = (16, 32, 16)[:dimensions]
    with torch.no_grad():
        outputs = network(torch.randn(2, 2, *shape), deep_supervision=True)
    assert [tuple(one.shape) for one in outputs] == [
        (2, 3, *(axis // 2**level for axis in shape)) for level in range(5)
    ]


def test_deep_supervision_is_a_switch_of_the_call():
    network, image = _small().train(), torch.randn(1, 1, 16, 16, 32)
    outputs = network(image, deep_supervision=True)
    assert isinstance(outputs, list)
    torch.testing.assert_close(network(image), outputs[0])
    torch.testing.assert_close(network.eval()(image), outputs[0])


def test_deep_supervision_needs_its_heads():
    with pytest.raises(SettingsError, match="without its heads"):
        _small(deep_supervision=False)(torch.randn(1, 1, 16, 16, 32), deep_supervision=True)


@pytest.mark.parametrize(
    "settings", [{}, {"grn": True}, {"dimensions": 2}, {"norm": "layer"}, {"resampling": "plain"}]
)
def test_checkpointing_changes_no_number(settings):
    network = _small(**settings)
    image = torch.randn(2, 1, *(16, 32, 16)[: settings.get("dimensions", 3)])
    plain = _gradients(network, image, deep=True)
    state = torch.random.get_rng_state()
    network.checkpointing = True
    checkpointed = _gradients(network, image, deep=True)
    assert torch.equal(state, torch.random.get_rng_state())
    for one, other in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_checkpointing_keeps_fewer_activations():
    network, image = _small(), torch.randn(1, 1, 32, 32, 32)
    kept = {}
    for switch in (False, True):
        network.checkpointing = switch
        sizes = []

        def keep(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            network(image)
        kept[switch] = sum(sizes)
    assert kept[True] < kept[False] / 2


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [((30, 48, 32), "24 x 48 x 32 or 32 x 48 x 32"), ((4, 32, 32), "16 x 32 x 32")],
)
def test_a_size_that_cannot_be_halved_names_the_nearest(shape, nearest):
    with pytest.raises(SettingsError, match="divisible by 8") as error:
        _small()(torch.randn(1, 1, *shape))
    assert nearest in error.value.remedy


def test_one_value_per_channel_names_the_smallest_patch():
    network = _small()
    with pytest.raises(SettingsError, match="the smallest is 16 x 16 x 32"):
        network(torch.randn(1, 1, 16, 16, 16))
    smallest = FAMILY.smallest_patch(MedNeXtSettings())
    assert network(torch.randn(1, 1, *smallest)).isfinite().all()


def test_layer_norm_takes_a_smaller_patch():
    assert FAMILY.smallest_patch(MedNeXtSettings(norm="layer")) == (16, 16, 16)
    assert _small(norm="layer")(torch.randn(1, 1, 16, 16, 16)).isfinite().all()


def test_layer_norm_in_two_dimensions_is_over_the_channels_of_each_pixel():
    norm = _small(norm="layer", dimensions=2).encoder[0].blocks[0].norm
    image = torch.randn(3, 4, 5, 6)
    centred = image - image.mean(1, keepdim=True)
    expected = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(norm(image), expected)


@pytest.mark.parametrize("shape", [(1, 2, 16, 16, 32), (1, 1, 16, 32)])
def test_wrong_channels_or_dimensions_are_named(shape):
    with pytest.raises(SettingsError, match="1 channels and 3 dimensions"):
        _small()(torch.randn(shape))


def test_separate_kernels_go_to_encoder_and_decoder():
    network = _small(encoder_kernel=3, decoder_kernel=5)
    sizes = {
        name: value.shape[-1]
        for name, value in network.state_dict().items()
        if name.endswith("depthwise.weight")
    }
    encoder = {size for name, size in sizes.items() if name.startswith("encoder")}
    others = {size for name, size in sizes.items() if not name.startswith("encoder")}
    assert (encoder, others) == ({3}, {5})


@pytest.mark.parametrize(
    ("kernel", "separate"),
    [
        (3, {"encoder_kernel": 5}),
        (3, {"encoder_kernel": 3, "decoder_kernel": 3}),
        (None, {"decoder_kernel": 3}),
    ],
)
def test_kernels_are_said_in_one_way_only(kernel, separate):
    with pytest.raises(SettingsError, match=r"given together|give either"):
        mednext("S", kernel, 1, 2, **separate)


@pytest.mark.parametrize("kernel", [0, 1, 4, -3])
def test_an_impossible_kernel_is_refused(kernel):
    with pytest.raises(SettingsError, match="3, 5 or 7"):
        mednext("S", kernel, 1, 2)


def test_an_unknown_size_lists_the_known():
    with pytest.raises(SettingsError, match="'S', 'B', 'M' or 'L'"):
        mednext("XL", 3, 1, 2)


@pytest.mark.parametrize("everywhere", [True, False])
def test_the_first_downsampling_has_grn_only_on_request(everywhere):
    names = _small(grn=True, grn_in_first_downsampling=everywhere).state_dict().keys()
    assert ("encoder.0.down.grn.gamma" in names) is everywhere
    assert "encoder.1.down.grn.gamma" in names


def test_a_specification_goes_through_plain_values():
    one = mednext("B", None, 2, 4, 16, encoder_kernel=3, decoder_kernel=7, dimensions=2)
    assert read_spec(one.dump()) == one


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"grn": "yes"},
        {"blocks": [2, 2]},
        {"norm": "batch"},
        {"dimensions": 4},
        {"base_channels": 0},
        {"expansion": "2"},
        {"encoder_kernel": 3},
        {"grn_in_first_downsampling": True},
        {"grn": True, "grn_in_first_downsampling": True, "resampling": "plain"},
        {"resampling": "strided"},
        {"residual_resampling": "no"},
        {"resampling": "residual", "residual_resampling": False},
    ],
)
def test_broken_settings_are_refused(change):
    values = mednext("S", 3, 1, 2).dump()
    values["settings"] |= change
    with pytest.raises(SettingsError):
        read_spec(values)


def test_a_specification_without_channels_is_refused():
    values = mednext().dump()
    del values["in_channels"]
    with pytest.raises(SettingsError, match="in_channels: Field required"):
        read_spec(values)


def test_what_can_be_said_in_two_ways_is_kept_in_one():
    large = VARIANTS["L"]
    said = MedNeXtSettings(
        encoder_kernel=5, decoder_kernel=5, expansion=large.expansion, blocks=list(large.blocks)
    )
    assert said == MedNeXtSettings(size="L", kernel=5)
    assert MedNeXtSettings() == MedNeXtSettings(size="s", kernel=3)
