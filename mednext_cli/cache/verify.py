"""Is every byte of a cache what was written? Each file against its checksums."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mednext_cli.cache import schema
from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.foundation.errors import CacheError
from mednext_cli.foundation.machine import count_workers
from mednext_cli.foundation.seal import is_whole
from mednext_cli.foundation.workers import run_over

_BYTES_PER_WORKER = 2 * 2**30  # a case is decompressed, an array at a time
_REMEDY = "Delete the file and run mednext preprocess again."


@dataclass(frozen=True)
class CacheCheck:
    """What was found of a case; `columns.VERIFIED_CACHE` says what each field means."""

    dataset: str
    case: str
    problem: str


def find_caches(folder: Path) -> list[Path]:
    """A dataset's cache folder itself, or those in a folder that holds them.

    Raises:
        CacheError: there is none.
    """
    if schema.description_file(folder).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/dataset.json"))
    if not found:
        raise CacheError(
            f"{folder} holds no cache", "Give the folder that --cache of mednext preprocess had."
        )
    return found


def verify_cache(folder: Path, workers: int | None) -> list[CacheCheck]:
    """Check every case of one cache.

    Raises:
        CacheError: no cache, or its description is damaged.
    """
    cached = open_cache(folder)
    items = list(cached.case_ids)
    count = count_workers(workers, _BYTES_PER_WORKER, len(items))
    found = run_over(partial(_check, cached), items, str, count, "verifying")
    problems = {one.name: one.error or "" for one in found}
    return [CacheCheck(cached.name, case_id, problems[case_id]) for case_id in items]


def _check(cached: CachedDataset, case_id: str) -> None:
    """Raise `CacheError` where a case's file is not what was written."""
    case = cached.case(case_id)
    try:
        sealed, whole = case.sealed, is_whole(case.path)
        case.check()
        if whole is False or (sealed and not whole):
            raise CacheError(f"{case.path} does not match its checksum", _REMEDY)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        if isinstance(error, CacheError):
            raise
        raise CacheError(f"{case.path} cannot be read ({error})", _REMEDY) from error
    finally:
        cached.close()
