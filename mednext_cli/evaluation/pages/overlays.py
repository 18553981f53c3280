"""The worst cases of an evaluation, drawn: which scan belongs to which case, and what it costs."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from mednext_cli.datasets.raw_folder import list_names, scan_id
from mednext_cli.datasets.registry import fitting_layouts, read_dataset
from mednext_cli.evaluation.pages.slices import MOST_SLICES, LabelledScan, Plane, draw_planes
from mednext_cli.evaluation.scoring.label_maps import same_form
from mednext_cli.evaluation.scoring.score_case import CasePair, read_prediction
from mednext_cli.evaluation.scoring.scores import ScoreSettings
from mednext_cli.evaluation.scoring.work_load import settings_for
from mednext_cli.foundation.errors import DatasetError, MednextError
from mednext_cli.foundation.workers import run_over
from mednext_cli.volumes.masks import read_labels
from mednext_cli.volumes.orientation import to_canonical, turned_onto
from mednext_cli.volumes.scan_names import list_scans
from mednext_cli.volumes.scans import read_volume
from mednext_cli.volumes.volume import Volume

MOST_BYTES = 5 * 2**20  # of all overlays in a report
_NAMES = ("{}", "{}_0000", "{}/imaging", "{}/{}")
_FEWER = (MOST_SLICES, 8, 4)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseOverlay:
    """One case, drawn.

    Attributes:
        case: the case id.
        planes: axial, coronal and sagittal; empty where there is nothing to draw.
        note: what is drawn, or why nothing is.
    """

    case: str
    planes: tuple[Plane, ...]
    note: str

    @property
    def size(self) -> int:
        """Characters it takes in a page."""
        return sum(drawn.size for plane in self.planes for drawn in plane.slices)


def find_images(folder: Path, cases: Sequence[str], dataset: str | None = None) -> dict[str, Path]:
    """The scan of each case: CASE, CASE_0000, CASE/imaging or CASE/CASE, of any format.

    Args:
        folder: of the scans, or a raw dataset's folder.
        cases: their ids.
        dataset: layout of the raw folder, whose first channel is taken; None finds out.

    Raises:
        DatasetError: the folder cannot be listed, or holds no case's scan.
    """
    scans = _scans_by_name(folder)
    found: dict[str, Path] = {}
    for case in cases:
        names = (pattern.format(case, case) for pattern in _NAMES)
        if path := next((scans[name] for name in names if name in scans), None):
            found[case] = path
    if not found and dataset is not None:
        found = _images_of(folder, dataset, cases)
    elif not found:
        for layout in fitting_layouts(folder):
            with suppress(MednextError):
                found = found or _images_of(folder, layout, cases)
    if not found:
        raise DatasetError(
            f"{folder} holds no scan of {cases[0] if cases else 'any case'}",
            "Scans are called CASE.nii.gz, CASE_0000.nii.gz or CASE/imaging.nii.gz.",
        )
    if lacking := [case for case in cases if case not in found]:
        logger.info("%s holds no scan of %d cases", folder, len(lacking))
    return found


def _scans_by_name(folder: Path) -> dict[str, Path]:
    """Scans in a folder and in its sub-folders by name without ending: ``a``, ``a/imaging``."""
    entries = [folder / name for name in list_names(folder)]
    found = {same_form(scan_id(path.name)): path for path in list_scans(entries).scans}
    for inner in filter(Path.is_dir, entries):
        for path in list_scans(inner / name for name in list_names(inner)).scans:
            found[f"{same_form(inner.name)}/{same_form(scan_id(path.name))}"] = path
    return found


def _images_of(folder: Path, layout: str, cases: Sequence[str]) -> dict[str, Path]:
    """The first channel of each case of a raw folder; 4D files are not drawn."""
    first = {same_form(case.id): case.channels[0] for case in read_dataset(folder, layout).cases}
    return {case: first[case].path for case in cases if case in first and first[case].index is None}


def draw_overlays(
    pairs: Sequence[CasePair],
    images: Mapping[str, Path],
    settings: ScoreSettings,
    workers: int | None,
    most_bytes: int = MOST_BYTES,
) -> list[CaseOverlay]:
    """Draw cases; all together take no more than `most_bytes`, by fewer slices of each.

    A case that cannot be drawn is left out with a warning.

    Args:
        pairs: what to draw, the most important first.
        images: scan by case id; the others are drawn over their labels.
        settings: how they were compared.
        workers: processes; None decides.
        most_bytes: for all.
    """
    if not pairs:
        return []
    outcomes = run_over(
        partial(draw_case, images=images, settings=settings, most_bytes=most_bytes // len(pairs)),
        pairs,
        name=attrgetter("case"),
        settings=settings_for(pairs, workers),
        description="drawing the worst cases",
    )
    drawn = {outcome.name: outcome.value for outcome in outcomes if outcome.value is not None}
    return [drawn[pair.case] for pair in pairs if pair.case in drawn]


def draw_case(
    pair: CasePair, images: Mapping[str, Path], settings: ScoreSettings, most_bytes: int
) -> CaseOverlay:
    """Draw one case with as many slices as `most_bytes` allow.

    Raises:
        ScanError: a label map cannot be read.
    """
    names = settings.label_set.names if settings.label_set else None
    reference = read_labels(pair.reference, names)
    prediction, _ = read_prediction(pair, reference, settings)
    image, note = _read_image(images.get(pair.case), reference)
    turned = to_canonical(reference)
    scan = LabelledScan(
        reference=turned.array,
        prediction=to_canonical(prediction).array,
        image=None if image is None else to_canonical(image).array,
        spacing_mm=turned.spacing_mm,
    )
    for slices in _FEWER:
        overlay = CaseOverlay(pair.case, draw_planes(scan, slices), note)
        if overlay.size <= most_bytes:
            return overlay
    return replace(overlay, planes=(), note="Too large to be drawn here.")


def _read_image(path: Path | None, reference: Volume) -> tuple[Volume | None, str]:
    """The scan, or None, and what is drawn."""
    if path is None:
        return None, "Shades are the reference's labels."
    try:
        image = _first_volume(path)
    except MednextError as error:
        return None, f"The scan cannot be read ({error.message}): shades are the labels."
    turned = turned_onto(image, reference.grid)
    if turned is None:
        return None, "The scan lies on another grid than the labels: shades are the labels."
    return turned, ""


def _first_volume(path: Path) -> Volume:
    try:
        return read_volume(path)
    except MednextError:
        return read_volume(path, index=0)
