"""One case into the cache."""

from dataclasses import dataclass
from pathlib import Path

from mednext_cli.cache import schema
from mednext_cli.cache.case_file import open_case_file
from mednext_cli.cache.description import StoredType
from mednext_cli.cache.writer import CaseRecord, write_case
from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import CacheError
from mednext_cli.preprocessing.apply import prepare_case
from mednext_cli.preprocessing.foreground import sample_foreground
from mednext_cli.settings.plan import Plan


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
    prepared = prepare_case(case, plan, task.resample_label, stored_type)
    label = prepared.label
    record = CaseRecord(
        case_id=case.id,
        key=task.key,
        image=prepared.image,
        label=label,
        foreground={} if label is None else sample_foreground(label, plan.ignore_index),
        geometry=prepared.geometry.model_dump(mode="json"),
        sources={
            "images": [str(channel.path.absolute()) for channel in case.channels],
            "label": str(case.label.absolute()) if case.label else None,
        },
    )
    write_case(folder, record)
