"""Which cases a folder or file of scans holds."""

import logging
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mednext_cli.datasets.dataset import Case
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.registry import fitting_layouts, read_dataset
from mednext_cli.foundation.errors import DatasetError, ScanError, SettingsError
from mednext_cli.foundation.files import listed_names
from mednext_cli.inference.archives import Scratch, is_archive
from mednext_cli.inference.grouping import Item, UnreadCase, group_cases, short_ids
from mednext_cli.inference.search import NO_SCANS, Found, has_scans, search
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.formats.dicom_bytes import ENDINGS as DICOM_ENDINGS
from mednext_cli.volumes.formats.dicom_bytes import has_dicom_name, is_dicom
from mednext_cli.volumes.formats.dicom_series import name_some
from mednext_cli.volumes.scan_names import SCAN_ENDINGS, is_scan_name, list_scans, stem_of
from mednext_cli.volumes.scans import read_grid

_KINDS = f"{', '.join(SCAN_ENDINGS)}, DICOM series, .zip"
logger = logging.getLogger(__name__)


def find_cases(
    images: Path,
    plan: Plan,
    layout: str | None = None,
    options: LayoutOptions | None = None,
    scratch: Scratch | None = None,
    passed_over: Callable[[str], None] = lambda line: None,
) -> list[Case]:
    """The cases to predict, sorted by id; what is passed over is said in a warning.

    Args:
        images: a scan (a file, the folder of a DICOM series, or a file of one); a folder of scans
            and of folders of scans, one a case (4D where there are several channels) or nnU-Net's
            ``CASE_0000.nii.gz``, one file a channel; a zip archive of such a folder; or a raw
            dataset. Cases in sub-folders are named after these, too: ``p1/ct.nii.gz`` is p1_ct.
        plan: how many channels there are, and which layout to try first on a folder of folders.
        layout: name of the raw dataset's layout; None finds out.
        options: of that layout.
        scratch: where archives are unpacked; the cases lie there. None does not unpack them.
        passed_over: is told the same as the warning, in a folder that is no raw dataset.

    Raises:
        DatasetError: nothing there, or two files for the same case. ScanError: an archive that
            cannot be unpacked.
        PluginError: no such layout. SettingsError: options for what is no raw dataset.
    """
    if layout is not None:
        return short_ids(_read(images, layout, plan, options))
    if options is not None and options.given():
        raise SettingsError("--modality is for raw datasets", "Give --dataset with it.")
    if not _exists(images):
        raise DatasetError(f"{images} does not exist", "Give a scan or a folder of scans.")
    if images.is_dir():
        return short_ids(_find_below(images, images.absolute().name, plan, scratch, passed_over))
    if is_archive(images.name) and scratch is not None:
        name = images.name[: -len(".zip")]
        below = scratch.unpack(images)
        return short_ids(_find_below(below, name, plan, scratch, passed_over))
    return short_ids(group_cases([_single(images)], len(plan.channels)))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system
        return False


def _single(path: Path) -> Item:
    """A scan that was given by itself."""
    if is_scan_name(path.name):
        return Item((), stem_of(path.name), path)
    if has_dicom_name(path) or is_dicom(path):
        logger.info("%s stands for its DICOM series in that folder", path)
        name = path.stem if path.suffix.lower() in DICOM_ENDINGS else path.name
        return Item((), name, path)
    why = list_scans([path]).unread.get(path)
    raise DatasetError(
        f"{path} is not a scan" + (f": {why}" if why else ""),
        f"Give {', '.join(SCAN_ENDINGS)}, a DICOM series or a .zip.",
    )


def _find_below(
    images: Path,
    name: str,
    plan: Plan,
    scratch: Scratch | None,
    passed_over: Callable[[str], None],
) -> list[Case]:
    """The cases of a folder, which is called `name`."""
    fitting = [] if has_scans(images) else fitting_layouts(images)
    if fitting:
        return _read(images, plan.layout if plan.layout in fitting else fitting[0], plan)
    inside = scratch is not None and scratch.shown(images) != str(images)
    found = search(images, scratch, inside)
    _say(found, images, scratch or Scratch(), passed_over)
    items = [item for place in found.places for item in place.items(name)]
    unread = [case for place in found.places for case in place.unread_cases(name)]
    if not items and not unread:
        raise DatasetError(
            f"{images} holds no scans ({_KINDS})", "Give a folder of scans, or --dataset NAME."
        )
    return group_cases(items, len(plan.channels), unread)


def _say(found: Found, root: Path, scratch: Scratch, passed_over: Callable[[str], None]) -> None:
    """Name what is passed over, a line for each reason."""
    for note in found.notes:
        logger.info("%s", note)
    for why, paths in _by_reason(found.passed).items():
        names = [
            str(path.relative_to(root)) if root in path.parents else scratch.shown(path)
            for path in paths
        ]
        line = f"passed over in {root.name}: {name_some(names)} ({why})"
        logger.log(logging.INFO if why == NO_SCANS else logging.WARNING, "%s", line)
        passed_over(line)


def _by_reason(passed: Mapping[Path, str]) -> dict[str, list[Path]]:
    reasons: dict[str, list[Path]] = {}
    for path, why in sorted(passed.items()):
        reasons.setdefault(why, []).append(path)
    return reasons


def read_ids(text: str) -> tuple[str, ...]:
    """Case ids as an option gives them: with commas between, or a file with one a line.

    Raises:
        SettingsError: there are none, or the file is no text.
    """
    ids = listed_names(text)
    if not ids:
        raise SettingsError(f"--cases {text!r} names no case", "Give ids with commas between.")
    return ids


def select_cases(cases: Sequence[Case], wanted: Sequence[str]) -> list[Case]:
    """The cases of these ids, in the order of `cases`; letters may be composed or not (NFC, NFD).

    Raises:
        SettingsError: there is no such case.
    """
    names = {_composed(name): name for name in wanted}
    known = {_composed(case.id) for case in cases}
    unknown = [name for composed, name in names.items() if composed not in known]
    if unknown:
        raise SettingsError(
            f"there is no case {unknown[0]!r}",
            f"There are {len(cases)}, {cases[0].id} to {cases[-1].id}.",
        )
    return [case for case in cases if _composed(case.id) in names]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def check_volumes(case: Case, plan: Plan) -> None:
    """Raise `ScanError` where a case cannot be read, as was known when it was found; and unless a
    file read as 4D holds one volume a channel of the network.

    Too few are noticed when they are read; too many would be left out in silence.
    """
    if isinstance(case, UnreadCase):
        raise ScanError(case.problem)
    path, first = case.channels[0].path, case.channels[0].index
    count = len(plan.channels)
    if first is None or not (_is_grid(path, None) or _is_grid(path, count)):
        return
    raise ScanError(
        f"{path} does not hold {count} volumes, one a channel of the network "
        f"({', '.join(plan.channels)})",
        "Give 4D files with these channels, or CASE_0000.nii.gz, CASE_0001.nii.gz, ...",
    )


def _is_grid(path: Path, index: int | None) -> bool:
    try:
        read_grid(path, index)
    except ScanError:
        return False
    return True


def _read(
    images: Path, layout: str, plan: Plan, options: LayoutOptions | None = None
) -> list[Case]:
    dataset = read_dataset(images, layout, options)
    if dataset.channels != plan.channels:
        logger.warning(
            "%s has the channels %s, the network was trained on %s, in this order",
            images,
            ", ".join(dataset.channels),
            ", ".join(plan.channels),
        )
    return list(dataset.cases)
