"""One case into the cache."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache import schema
from mednext_cli.cache.case_file import open_case_file
from mednext_cli.cache.description import StoredType
from mednext_cli.cache.writer import CaseRecord, write_case
from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import CacheError, ScanError
from mednext_cli.preprocessing.apply import check_varied, prepare_case
from mednext_cli.preprocessing.foreground import sample_foreground
from mednext_cli.settings.plan import Plan

_BATCH = 2**20  # voxels


@dataclass(frozen=True)
class StoreTask:
    """A case to prepare.

    Attributes:
        case: the case.
        key: hash of everything its file is made from.
        resample_label: whether its label map must be brought onto the image's grid.
    """

    case: Case
    key: str
    resample_label: bool = False


def is_stored(folder: Path, task: StoreTask) -> bool:
    """Whether the cache has the case, made from just this."""
    try:
        with open_case_file(schema.case_file(folder, task.case.id)) as file:
            return bool(file.attrs[schema.KEY] == task.key)
    except (CacheError, KeyError):
        return False


def store_case(task: StoreTask, plan: Plan, folder: Path, stored_type: StoredType) -> None:
    """Prepare one case and write its file.

    Raises:
        ScanError: the case cannot be used, or not in this type. StorageError: the disk refuses.
    """
    case = task.case
    prepared = prepare_case(case, plan, task.resample_label)
    label, geometry = prepared.label, prepared.geometry.model_dump(mode="json")
    _check_range(prepared.image, stored_type, case)
    check_varied(prepared.image, case.channels, plan, stored_type)
    image = _stored_as(prepared.image, stored_type)
    del prepared  # with the image in float32
    ignored = len(plan.class_values) if plan.label_set.ignore is not None else None
    record = CaseRecord(
        case_id=case.id,
        key=task.key,
        image=image,
        label=label,
        foreground={} if label is None else sample_foreground(label, ignored),
        geometry=geometry,
        sources={
            "images": [str(channel.path.absolute()) for channel in case.channels],
            "label": str(case.label.absolute()) if case.label else None,
        },
    )
    write_case(folder, record)


def _check_range(image: NDArray[np.float32], stored_type: StoredType, case: Case) -> None:
    """Raise `ScanError` where the type does not hold the intensities."""
    limit = float(np.finfo(stored_type).max)
    if float(image.max()) > limit or float(image.min()) < -limit:
        raise ScanError(
            f"{case.channels[0].path} has intensities above {limit:g}, too large for {stored_type}",
            "Add --dtype float32.",
        )


def _stored_as(image: NDArray[np.float32], stored_type: StoredType) -> NDArray[np.floating]:
    """The voxels in another type; uses up `image`, which is contiguous."""
    if stored_type == "float32":
        return image
    # In the image's own memory: a half is written where a float, already read, was.
    halves = image.reshape(-1).view(np.float16)[: image.size]
    flat = image.reshape(-1)
    for start in range(0, image.size, _BATCH):
        halves[start : start + _BATCH] = flat[start : start + _BATCH].astype(np.float16)
    return halves.reshape(image.shape)
