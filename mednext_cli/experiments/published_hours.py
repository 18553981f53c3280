"""Hours of a run on an A100, by what others published of their trainings."""

import re
from math import nan, prod

from mednext_cli.experiments.needs import Needs
from mednext_cli.scaling.published import PUBLISHED, REVISITED, SOURCE
from mednext_cli.settings.training import TrainingSettings

HOURS_SOURCE = SOURCE
_STEPS = 250_000  # of the published trainings: 1000 epochs of 250 steps
_VOXELS = 2 * 128**3  # of their steps, in MedNeXt's and nnU-Net's default plans
_MEDNEXT = re.compile(r"[SBML]-k(?P<kernel>\d)(?!.*-(window|bias)\d)(-\w+)*")
_LARGEST = "L"


def estimate_a100_hours(needs: Needs, training: TrainingSettings) -> float:
    """Hours of one run; nan where nobody published a training that it can be told from.

    A MedNeXt takes those of L with its kernel by its share of L's multiply-adds: depthwise
    convolutions with larger kernels take longer than their multiply-adds say. Other networks take
    their own. Steps and voxels a step count in proportion. Of attention in a kernel's place nobody
    published any.

    Args:
        needs: of the network.
        training: the recipe's; of one with minutes nothing need be estimated.
    """
    if training.minutes is not None:
        return nan
    steps = training.batches / _STEPS
    voxels = needs.batch_size * prod(needs.patch_voxels) / _VOXELS
    found = _MEDNEXT.fullmatch(needs.label)
    if found is None:
        known = REVISITED.get(needs.label)
        return nan if known is None else known.a100_hours * steps * voxels
    kernel = int(found["kernel"])
    known = REVISITED.get(f"{_LARGEST}-k{kernel}")
    if known is None:
        return nan
    _, operations_of_l = PUBLISHED[_LARGEST, kernel]
    share = needs.multiply_adds * needs.batch_size / (2e9 * operations_of_l)
    return known.a100_hours * steps * share
