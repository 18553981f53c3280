"""What `training.precision = "auto"` is on a CPU: measured when a run begins, and kept with it.

A run that goes on keeps what it began with, since another number format gives other bits.
"""

import logging
from typing import Any, Literal, cast, get_args

import torch

from mednext_cli.foundation.errors import CheckpointError, DatasetError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.networks.family import NetworkFamily
from mednext_cli.networks.workload import Workload
from mednext_cli.training.run_folder import RunFolder

CpuPrecision = Literal["float32", "bfloat16"]
_LEAST_GAIN = 1.1  # one block does not tell a whole step to the percent
logger = logging.getLogger(__name__)


def choose_precision(family: NetworkFamily[Any], workload: Workload) -> CpuPrecision:
    """bfloat16 where this processor has instructions for it and is faster with them by a tenth."""
    gain = family.bfloat16_gain(workload)
    if gain is None:
        return "float32"
    chosen: CpuPrecision = "bfloat16" if gain > _LEAST_GAIN else "float32"
    logger.info(
        "precision: %s, as a block in bfloat16 is %.2f times as fast as in float32 here",
        chosen,
        gain,
    )
    return chosen


def kept_precision(folder: RunFolder) -> CpuPrecision:
    """What a run began with; float32 where nothing was kept, as before anything was measured.

    Raises:
        CheckpointError: the run's note of it is damaged.
    """
    if not folder.precision.is_file():
        return "float32"
    try:
        values = read_json(folder.precision)
    except DatasetError as error:
        raise CheckpointError(error.message, _REMEDY) from error
    for known in get_args(CpuPrecision):
        if values == {"precision": known}:
            return cast("CpuPrecision", known)
    raise CheckpointError(f"{folder.precision} is damaged", _REMEDY)


def keep_precision(folder: RunFolder, dtype: torch.dtype) -> None:
    """Note in the run's folder what was chosen; a run that goes on has it from there.

    A note of a run that was killed before it saved anything is replaced.

    Raises:
        StorageError: the disk refuses.
    """
    write_json(folder.precision, {"precision": str(dtype).removeprefix("torch.")})


_REMEDY = (
    'Write {"precision": "float32"} or "bfloat16" into it, as the run\'s log says, or --restart.'
)
