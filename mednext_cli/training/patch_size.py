"""The patch that a network is trained on: the recipe's, or the plan's made to fit the network."""

import logging

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.patches import Patch, PatchRule, shown_patch

logger = logging.getLogger(__name__)


def choose_patch(requested: Patch | None, planned: Patch, rule: PatchRule) -> Patch:
    """The patch (D, H, W) in voxels that a network is trained on.

    Args:
        requested: by the recipe, taken as it is; None takes the plan's.
        planned: made to fit the network; plans are made without knowing it.
        rule: of the network.

    Raises:
        SettingsError: the network cannot take what the recipe requests.
    """
    fitted = rule.nearest(requested or planned)
    if requested and (problem := rule.problem(requested)):
        raise SettingsError(
            problem, f"Set training.patch_voxels to {list(fitted)}, or leave it out."
        )
    if fitted != planned and not requested:
        logger.info("patch %s of the plan becomes %s", shown_patch(planned), shown_patch(fitted))
    return requested or fitted
