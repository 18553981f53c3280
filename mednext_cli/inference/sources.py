"""Which cases a folder or file of scans holds."""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.datasets.raw_folder import list_names, scan_id
from mednext_cli.datasets.registry import fitting_layouts, read_dataset
from mednext_cli.foundation.errors import DatasetError, ScanError, SettingsError
from mednext_cli.foundation.files import listed_names
from mednext_cli.preprocessing.plan import Plan
from mednext_cli.volumes.dicom import is_series
from mednext_cli.volumes.scans import SCAN_ENDINGS, read_grid

_CHANNEL = re.compile(r"(.+)_(\d{4})")
Groups = dict[str, dict[int, Path]]  # files by number, by the name before the number
logger = logging.getLogger(__name__)


def find_cases(
    images: Path, plan: Plan, layout: str | None = None, options: LayoutOptions | None = None
) -> list[Case]:
    """The cases to predict, sorted by id.

    Args:
        images: a scan (a file, or the folder of a DICOM series); a folder of scans, one a case
            (4D where there are several channels) or nnU-Net's ``CASE_0000.nii.gz``, one file a
            channel; or a raw dataset.
        plan: how many channels there are, and which layout to try first on a folder of folders.
        layout: name of the raw dataset's layout; None finds out.
        options: of that layout.

    Raises:
        DatasetError: nothing there, or two files for the same case.
        PluginError: no such layout. SettingsError: options for what is no raw dataset.
    """
    if layout is not None:
        return _read(images, layout, plan, options)
    if options is not None and options.given():
        raise SettingsError("--modality is for raw datasets", "Give --dataset with it.")
    if not images.exists():
        raise DatasetError(f"{images} does not exist", "Give a scan or a folder of scans.")
    if not images.is_dir() or is_series(images):
        return _cases([_checked(images)], len(plan.channels))
    files = [images / name for name in list_names(images)]
    files = [path for path in files if _is_scan(path)]
    if files:
        return _cases(files, len(plan.channels))
    return _as_dataset(images, plan)


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
    """The cases of these ids, in the order of `cases`.

    Raises:
        SettingsError: there is no such case.
    """
    known = {case.id: case for case in cases}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SettingsError(
            f"there is no case {unknown[0]!r}",
            f"There are {len(cases)}, {cases[0].id} to {cases[-1].id}.",
        )
    return [case for case in cases if case.id in set(wanted)]


def check_volumes(case: Case, plan: Plan) -> None:
    """Raise `ScanError` unless a file read as 4D holds one volume a channel of the network.

    Too few are noticed when they are read; too many would be left out in silence.
    """
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


def _checked(path: Path) -> Path:
    if not _is_scan(path):
        raise DatasetError(
            f"{path} is not a scan",
            f"Give {', '.join(SCAN_ENDINGS)}, or the folder of a DICOM series.",
        )
    return path.absolute() if path.is_dir() else path  # its name is the case's, even of "."


def _is_scan(path: Path) -> bool:
    return (path.is_file() and path.name.endswith(SCAN_ENDINGS)) or is_series(path)


def _cases(files: list[Path], channels: int) -> list[Case]:
    """Files of one case together, where they are numbered as nnU-Net numbers channels."""
    groups = _numbered(files, channels)
    together = {path for group in groups.values() for path in group.values()}
    found = {
        name: tuple(Channel(group[number]) for number in sorted(group))
        for name, group in groups.items()
    }
    for path in files:
        if path in together:
            continue
        name = scan_id(path.name)
        if name in found:
            raise DatasetError(
                f"{path.name} and {found[name][0].path.name} are the same case", "Remove one."
            )
        found[name] = _volumes(path, channels)
    return [Case(name, found[name]) for name in sorted(found)]


def _volumes(path: Path, channels: int) -> tuple[Channel, ...]:
    if channels == 1:
        return (Channel(path),)
    return tuple(Channel(path, index) for index in range(channels))


def _numbered(files: list[Path], channels: int) -> Groups:
    """Files whose numbers name channels: those with a ``_0000`` beside them.

    AMOS and others number their cases the same way, from 1 on. Files that are all of one such row,
    from 0 on, are taken as cases too where the network has one channel.
    """
    groups: Groups = defaultdict(dict)
    for path in files:
        match = _CHANNEL.fullmatch(scan_id(path.name))
        if match is None:
            continue
        name, number = match[1], int(match[2])
        if number in groups[name]:
            other = groups[name][number].name
            raise DatasetError(f"{path.name} and {other} are the same case", "Remove one.")
        groups[name][number] = path
    found = {name: group for name, group in groups.items() if 0 in group}
    if (
        channels == 1
        and len(files) > 1
        and [len(group) for group in found.values()] == [len(files)]
    ):
        logger.info("%s and the others are taken as cases, not channels", files[0].name)
        return {}
    return found


def _as_dataset(images: Path, plan: Plan) -> list[Case]:
    """A folder of folders: a raw dataset, best in the layout the network's own had."""
    fitting = fitting_layouts(images)
    if not fitting:
        raise DatasetError(
            f"{images} holds no scans ({', '.join(SCAN_ENDINGS)}, DICOM series)",
            "Give a folder of scans, or --dataset NAME.",
        )
    return _read(images, plan.layout if plan.layout in fitting else fitting[0], plan)


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
