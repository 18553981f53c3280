"""The patch that a network is trained on: the recipe's, or the plan's made to fit the network."""

import logging

from torch import nn

from mednext_cli.foundation.errors import PluginError, SettingsError

Patch = tuple[int, int, int]
logger = logging.getLogger(__name__)


def choose_patch(requested: Patch | None, planned: Patch, network: nn.Module) -> Patch:
    """The patch (D, H, W) in voxels that `network` is trained on.

    Args:
        requested: by the recipe, taken as it is; None takes the plan's.
        planned: rounded to the network's divisor and not below its smallest patch; plans are made
            without knowing the network.
        network: with the attributes `divisor` and `smallest_patch`.

    Raises:
        SettingsError: the network cannot take what the recipe requests.
        PluginError: the network lacks one of these attributes.
    """
    divisor, smallest = _needs(network)
    fitted = _fit(requested or planned, divisor, smallest)
    if requested and fitted != requested:
        least = " x ".join(map(str, smallest))
        raise SettingsError(
            f"patch {_text(requested)}: every axis must be divisible by {divisor} and the patch "
            f"at least {least} in some order of the axes",
            f"Set training.patch_voxels to {list(fitted)}, or leave it out.",
        )
    if fitted != planned and not requested:
        logger.info("patch %s of the plan becomes %s", _text(planned), _text(fitted))
    return fitted


def _fit(patch: Patch, divisor: int, smallest: Patch) -> Patch:
    """The nearest patch in multiples of the divisor; the longest axis takes the longest least."""
    fitted = [max(1, round(length / divisor)) * divisor for length in patch]
    for least, axis in zip(sorted(smallest), sorted(range(3), key=patch.__getitem__), strict=True):
        fitted[axis] = max(fitted[axis], least)
    return fitted[0], fitted[1], fitted[2]


def _needs(network: nn.Module) -> tuple[int, Patch]:
    try:
        divisor = int(network.divisor)  # type: ignore[arg-type]
        depth, height, width = map(int, network.smallest_patch)  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError) as error:
        raise PluginError(
            f"{type(network).__name__} does not say what patches it takes: {error}",
            "A network has the attributes divisor and smallest_patch: see CONTRIBUTING.md.",
        ) from error
    return divisor, (depth, height, width)


def _text(patch: Patch) -> str:
    return " x ".join(map(str, patch))
