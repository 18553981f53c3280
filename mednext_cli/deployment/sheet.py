"""The clinical sheet: every configuration in a process of its own, one CSV and one page."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mednext_cli.deployment.configurations import Configuration, list_configurations
from mednext_cli.deployment.counting import TilesLeft
from mednext_cli.deployment.doubts import is_open, problem_of
from mednext_cli.deployment.measurement import Failure, Measurement
from mednext_cli.deployment.page import write_page
from mednext_cli.deployment.process import OnTiles, measure_apart
from mednext_cli.deployment.scans import Drawer
from mednext_cli.deployment.specification import ClinicalSheetSpec
from mednext_cli.deployment.store import Measurements
from mednext_cli.deployment.table import CLINICAL, Measured, rows
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import make_folder
from mednext_cli.foundation.locks import locked, remove_lock
from mednext_cli.foundation.progress import track
from mednext_cli.inference.archives import Scratch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClinicalSheetResult:
    """What was measured, now or before, and where it is written."""

    measured: tuple[Measured, ...]
    table: Path
    page: Path


def clinical_sheet(spec: ClinicalSheetSpec) -> ClinicalSheetResult:
    """Measure what is not measured yet; write clinical.csv and clinical.html after each.

    Raises:
        CheckpointError, SettingsError, PluginError: a network, an engine or a device cannot be
            used; or every configuration failed.
        DatasetError, ScanError: the scan cannot be used.
        StorageError: the folder cannot be written, or another run measures into it.
        KeyboardInterrupt: interrupted; what was measured stays, the same call carries on.
    """
    make_folder(spec.out)
    with Scratch() as scratch, _alone_in(spec.out):
        configurations = list_configurations(spec, scratch)
        kept = Measurements(spec.out)
        todo = [one for one in configurations if is_open(one, kept.get(one.key))]
        if len(todo) < len(configurations):
            logger.info(
                "%d of %d were measured before",
                len(configurations) - len(todo),
                len(configurations),
            )
        result = _write(spec.out, configurations, kept)
        with TemporaryDirectory(prefix="mednext-") as folder:
            for one, found in _measure_all(todo, Path(folder)):
                kept.add(one.key, found)
                result = _write(spec.out, configurations, kept)
    _check_any(result)
    return result


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Two runs at once would measure each other."""
    with locked(folder, wait=False):
        yield
        remove_lock(folder)


def _measure_all(
    todo: Sequence[Configuration], folder: Path
) -> Iterator[tuple[Configuration, Measurement | Failure]]:
    drawer = Drawer(folder)
    with track("clinical sheet", sum(map(_expected_tiles, todo)), "tiles") as bar:
        left = TilesLeft(bar, list(map(_expected_tiles, todo)))
        for number, one in enumerate(todo):
            left.begin(number, f"{one.name}, {number + 1} of {len(todo)}", 1 + one.repeats)
            found = _measure(one, drawer, folder, left.told)
            if problem := problem_of(one, found):
                logger.warning("%s: %s", one.name, problem)
            left.end()
            yield one, found


def _measure(
    one: Configuration, drawer: Drawer, folder: Path, on_tiles: OnTiles
) -> Measurement | Failure:
    if one.missing:
        return Failure(problem=one.missing)
    case, models = drawer.case_of(one.scan), one.subject.files(folder)
    return measure_apart(one.task(case, models, folder / "map.nii.gz"), on_tiles)


def _expected_tiles(one: Configuration) -> int:
    return one.tiles * (1 + one.repeats)


def _write(
    folder: Path, configurations: Sequence[Configuration], kept: Measurements
) -> ClinicalSheetResult:
    known = ((one, kept.get(one.key)) for one in configurations)
    measured = tuple((one, found) for one, found in known if found is not None)
    result = ClinicalSheetResult(measured, folder / CLINICAL.title, folder / "clinical.html")
    CLINICAL.write(result.table, rows(measured))
    if measured:
        write_page(result.page, measured, len(configurations) - len(measured))
    return result


def _check_any(result: ClinicalSheetResult) -> None:
    problems = {found.problem for _, found in result.measured if isinstance(found, Failure)}
    if len(problems) and all(isinstance(found, Failure) for _, found in result.measured):
        raise SettingsError(
            f"nothing could be measured: {'; '.join(sorted(problems))}",
            f"{result.table} says of what.",
        )
