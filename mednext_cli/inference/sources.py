"""Which cases a folder or file of scans holds."""

import re
from collections import defaultdict
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.datasets.registry import load_layout, read_dataset
from mednext_cli.foundation.errors import DatasetError, MednextError
from mednext_cli.preprocessing.plan import Plan

_ENDINGS = (".nii.gz", ".nii")
_CHANNEL = re.compile(r"(.+)_(\d{4})")


def find_cases(images: Path, plan: Plan, layout: str | None = None) -> list[Case]:
    """The cases to predict, sorted by id.

    Args:
        images: a scan; a folder of scans, one file a case (4D where there are several channels) or
            nnU-Net's ``CASE_0000.nii.gz``, one file a channel; or a raw dataset.
        plan: how many channels there are, and the layout to try on other folders.
        layout: name of the raw dataset's layout; None finds out.

    Raises:
        DatasetError: nothing there, or two files for the same case.
    """
    if layout is not None:
        return list(read_dataset(images, layout).cases)
    if not images.exists():
        raise DatasetError(f"{images} does not exist", "Give a scan or a folder of scans.")
    files = _scans(images) if images.is_dir() else [images]
    if files:
        return _group(files, len(plan.channels))
    return _as_planned(images, plan)


def _scans(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.endswith(_ENDINGS) and not path.name.startswith(".") and path.is_file()
    )


def _stem(path: Path) -> str:
    for ending in _ENDINGS:
        if path.name.endswith(ending):
            return path.name.removesuffix(ending)
    raise DatasetError(f"{path} is not a NIfTI file", "Give .nii or .nii.gz.")


def _group(files: list[Path], channels: int) -> list[Case]:
    """Files of one case together, if they are numbered as nnU-Net does."""
    matches = {path: _CHANNEL.fullmatch(_stem(path)) for path in files}
    numbered = _is_numbered([match.groups() if match else () for match in matches.values()], channels)
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for path, match in matches.items():
        name, number = (match[1], int(match[2])) if match and numbered else (_stem(path), 0)
        if number in found[name]:
            raise DatasetError(
                f"{path.name} and {found[name][number].name} are the same case", "Remove one."
            )
        found[name][number] = path
    whole = not numbered and channels > 1
    return [
        Case(name, _channels(parts, channels, whole)) for name, parts in sorted(found.items())
    ]


def _is_numbered(names: list[tuple[str, ...]], channels: int) -> bool:
    """Whether names end in channel numbers; AMOS and others number their cases the same way."""
    if not all(names) or any(int(number) >= channels for _, number in names):
        return False
    firsts = {case for case, number in names if int(number) == 0}
    return firsts == {case for case, _ in names}


def _channels(parts: dict[int, Path], channels: int, whole: bool) -> tuple[Channel, ...]:
    if whole:
        return tuple(Channel(parts[0], index) for index in range(channels))
    return tuple(Channel(parts[number]) for number in sorted(parts))


def _as_planned(images: Path, plan: Plan) -> list[Case]:
    """A folder of folders: read as the layout the network's own dataset had."""
    try:
        cases = load_layout(plan.layout).read(images).cases
    except MednextError as error:
        raise DatasetError(
            f"{images} holds no .nii.gz or .nii file", "Give a folder of scans, or --dataset NAME."
        ) from error
    return list(cases)
