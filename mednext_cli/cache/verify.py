"""Is every byte of a cache what was written? Each file against its checksums."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mednext_cli.cache import schema
from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.foundation.errors import CacheError
from mednext_cli.foundation.outcomes import Outcome, raise_failures
from mednext_cli.foundation.seal import is_whole
from mednext_cli.foundation.workers import RunSettings, run_over
from mednext_cli.volumes.footprint import CHECK_CACHED

_REMEDY = "Delete the file and run mednext preprocess again."


@dataclass(frozen=True)
class VerifyCacheSpec:
    """What `verify_cache` is asked for.

    Attributes:
        cache: a dataset's cache folder, or the folder that holds several.
        workers: processes; None for what fits, 0 for none.
    """

    cache: Path
    workers: int | None = None


@dataclass(frozen=True)
class CacheCheck:
    """What was found of a case; `columns.VERIFIED_CACHE` says what most fields mean.

    `ours` says whether checking it failed by a fault of ours.
    """

    dataset: str
    case: str
    problem: str
    ours: bool = False


@dataclass(frozen=True)
class VerifyCacheResult:
    """The findings, by dataset and case."""

    checks: tuple[CacheCheck, ...]

    def raise_failed(self) -> None:
        """Raise `FailedCases` where something is wrong with a case."""
        outcomes: list[Outcome[None]] = [
            Outcome(f"{check.dataset}/{check.case}", error=check.problem or None, ours=check.ours)
            for check in self.checks
        ]
        remedy = "Delete these case files and run mednext preprocess again."
        raise_failures(outcomes, len(outcomes), remedy)


def verify_cache(spec: VerifyCacheSpec) -> VerifyCacheResult:
    """Compare every case of one cache, or of several, with what was written.

    Raises:
        CacheError: no cache, or its description is damaged.
    """
    folders = _find_caches(spec.cache)
    checks = (check for folder in folders for check in _check_cases(folder, spec.workers))
    return VerifyCacheResult(tuple(checks))


def _find_caches(folder: Path) -> list[Path]:
    """The folder itself, or those in it; raises `CacheError` where there is none."""
    if schema.description_file(folder).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob("*/dataset.json"))
    if not found:
        raise CacheError(
            f"{folder} holds no cache", "Give the folder that --cache of mednext preprocess had."
        )
    return found


def _check_cases(folder: Path, workers: int | None) -> list[CacheCheck]:
    cached = open_cache(folder)
    items = list(cached.case_ids)
    settings = RunSettings[str](workers, bytes_of=lambda _: CHECK_CACHED.process_bytes)
    found = run_over(partial(_check, cached), items, str, settings, "verifying")
    known = {outcome.name: outcome for outcome in found}
    return [
        CacheCheck(cached.name, case_id, known[case_id].error or "", known[case_id].ours)
        for case_id in items
    ]


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
