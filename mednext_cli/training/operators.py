"""Which operators a run takes: chosen when it begins, and kept, since others give other bits."""

from collections.abc import Mapping
from typing import Any

from mednext_cli.foundation.errors import CheckpointError, DatasetError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.starting import Job


def choose_operators(job: Job) -> dict[str, Any] | None:
    """What `model.operators = "auto"` means for this run; None takes what needs no choice.

    A run that goes on keeps what it was begun with, on the same kind of device.

    Raises:
        CheckpointError: the run's note of it is damaged.
    """
    if job.chosen.operators != "auto":
        return None
    kept = _read(job.folder) if job.resuming else None
    if job.resuming and kept is None:
        return None
    return job.chosen.family.choose_operators(job.workload(job.precision.dtype), kept)


def keep_operators(folder: RunFolder, operators: Mapping[str, Any] | None) -> None:
    """Note in the run's folder what was chosen, if anything was.

    Raises:
        StorageError: the disk refuses.
    """
    if operators is not None:
        write_json(folder.operators, operators)


def _read(folder: RunFolder) -> dict[str, Any] | None:
    if not folder.operators.is_file():
        return None
    try:
        values = read_json(folder.operators)
    except DatasetError as error:
        raise CheckpointError(error.message, _REMEDY) from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{folder.operators} is damaged", _REMEDY)
    return values


_REMEDY = "Remove it: then the run goes on with PyTorch's own operators."
