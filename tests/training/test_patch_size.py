"""The patch that a network is trained on, by recipe and plan."""

import pytest

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.spec import describe_network
from mednext_cli.training.patch_size import choose_patch

MEDNEXT = describe_network("mednext", 1, 2).patch_rule
UNET = describe_network("nnunet", 1, 2).patch_rule


@pytest.mark.parametrize("planned", [(40, 56, 40), (24, 40, 16), (32, 48, 32)])
def test_what_the_network_takes_is_trained_as_it_was_planned(
    planned: tuple[int, int, int],
) -> None:
    """Plans are edited by hand, or nnU-Net's."""
    assert choose_patch(None, planned, MEDNEXT) == planned
    assert choose_patch(planned, (128, 128, 128), MEDNEXT) == planned


def test_what_it_does_not_take_is_made_to_fit() -> None:
    assert choose_patch(None, (36, 50, 35), MEDNEXT) == (32, 48, 32)
    assert choose_patch(None, (40, 56, 40), UNET) == UNET.fit((40, 56, 40)) != (40, 56, 40)


def test_what_a_recipe_asks_for_must_be_taken() -> None:
    with pytest.raises(SettingsError, match="divisible by 8") as caught:
        choose_patch((36, 56, 40), (128, 128, 128), MEDNEXT)
    assert "Set training.patch_voxels to [" in caught.value.remedy
