"""UpKern beyond the reference files: two dimensions, jumps, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.upkern import enlarge, grow_kernel, parse_kernel, plan_upkern
from mednext_cli.settings.progress import Origin, Progress
from mednext_cli.settings.recipe import ModelSettings, Recipe
from tests.networks.made import build, mednext
from tests.settings.examples import PLAN


def _checkpoint(**settings):
    torch.manual_seed(0)
    kernel = None if "encoder_kernel" in settings else 3
    description = mednext("S", kernel, 1, 2, 2, **settings)
    return Checkpoint(
        description,
        build(description).state_dict(),
        plan=PLAN,
        recipe=Recipe(model=ModelSettings(mednext={"kernel": 3})),
        progress=Progress(iteration=1000),
        origin=Origin(training_cases=("a",)),
        optimiser={"state": {}},
    )


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("kernel", [5, 7])
def test_every_kernel_grows_and_the_network_runs(dimensions, kernel):
    enlarged, steps = enlarge(_checkpoint(dimensions=dimensions), kernel)
    kernels = [value for name, value in enlarged.state_dict.items() if "depthwise.weight" in name]
    assert {tuple(value.shape[2:]) for value in kernels} == {(kernel,) * dimensions}
    assert sum(step.action == "grow" for step in steps) == len(kernels) == 26
    shape = (1, 32, 16) if dimensions == 2 else (16, 32, 16)
    assert build_network(enlarged)(torch.randn(1, 1, *shape)).isfinite().all()


def test_resampling_is_linear_between_voxel_centres():
    checkpoint = _checkpoint(dimensions=2)
    name = "bottleneck.0.depthwise.weight"
    ramp = torch.arange(3.0).expand(32, 1, 3, 3)
    checkpoint = replace(checkpoint, state_dict={**checkpoint.state_dict, name: ramp})
    enlarged, _ = enlarge(checkpoint, 5)
    expected = torch.tensor([0.0, 0.4, 1.0, 1.6, 2.0])
    torch.testing.assert_close(enlarged.state_dict[name], expected.expand(32, 1, 5, 5))


@pytest.mark.parametrize("dimensions", [2, 3])
def test_with_zeros_around_its_kernels_the_network_computes_what_it_did(dimensions):
    source = _checkpoint(dimensions=dimensions)
    image = torch.randn(1, 1, *((1, 32, 16) if dimensions == 2 else (16, 32, 16)))
    before = build_network(source)(image)
    for kernel in (5, 7):
        enlarged, _ = enlarge(source, kernel, "centre")
        torch.testing.assert_close(build_network(enlarged)(image), before)
        assert enlarged.metadata["upkern_growth"] == "centre"


def test_nearest_voxels_lie_symmetrically_about_the_centre():
    row = torch.arange(3.0).expand(1, 1, 3, 3)
    grown = grow_kernel(row, (5, 5), "nearest")
    assert grown.tolist() == [[[[0.0, 0.0, 1.0, 2.0, 2.0]] * 5]]


def test_an_unknown_way_to_grow_is_refused():
    with pytest.raises(SettingsError, match="Did you mean centre"):
        enlarge(_checkpoint(), 5, "center")


def test_plan_and_recipe_stay_and_progress_goes():
    source = _checkpoint()
    enlarged, _ = enlarge(source, 5)
    assert enlarged.plan == source.plan
    assert enlarged.origin == source.origin
    assert enlarged.recipe.model.table["kernel"] == 5
    assert enlarged.recipe.training == source.recipe.training
    assert (enlarged.progress.iteration, enlarged.optimiser) == (0, None)
    assert source.recipe.model.table["kernel"] == 3
    assert enlarged.metadata["upkern_from"] == [3, 3]


def test_only_the_smaller_side_is_resampled():
    enlarged, steps = enlarge(_checkpoint(encoder_kernel=3, decoder_kernel=5), 5)
    assert enlarged.network.kernels == (5, 5)
    resampled = {step.name.split(".")[0] for step in steps if step.action == "grow"}
    assert resampled == {"encoder"}


@pytest.mark.parametrize(("kernel", "reason"), [(3, "not larger"), (4, "odd"), (1, "at least 3")])
def test_a_target_that_is_no_enlargement_is_refused(kernel, reason):
    with pytest.raises((CheckpointError, SettingsError), match=reason):
        enlarge(_checkpoint(), kernel)


def test_a_target_between_the_two_kernels_is_refused():
    with pytest.raises(CheckpointError, match="not larger than the checkpoint's 3 and 7"):
        enlarge(_checkpoint(encoder_kernel=3, decoder_kernel=7), 5)


@pytest.mark.parametrize("change", [{"base_channels": 4}, {"out_channels": 5}, {"grn": True}])
def test_another_network_is_refused(change):
    source = _checkpoint()
    other = mednext(**{"kernel": 5, "base_channels": 2} | change)
    with pytest.raises(CheckpointError, match="same size, channels and classes"):
        plan_upkern(source.state_dict, build(other).state_dict())


def test_weights_that_are_not_the_networks_are_refused():
    source = _checkpoint()
    broken = {**source.state_dict, "stem.weight": torch.zeros(2, 9, 1, 1, 1)}
    with pytest.raises(CheckpointError, match=r"stem\.weight"):
        enlarge(replace(source, state_dict=broken), 5)


@pytest.mark.parametrize(("text", "kernel"), [("k5", 5), ("K7", 7), ("5", 5)])
def test_a_kernel_is_read(text, kernel):
    assert parse_kernel(text) == kernel


@pytest.mark.parametrize("text", ["", "k", "five", "k-3", "5.0", "k4", "0", "k9"])
def test_nonsense_is_no_kernel(text):
    with pytest.raises(SettingsError):
        parse_kernel(text)
