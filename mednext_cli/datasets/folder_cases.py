"""Cases of a folder of images and a folder of labels, told by the names alone."""

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.datasets.names import composed
from mednext_cli.datasets.raw_folder import (
    Scans,
    check_label_names,
    is_folder,
    list_names,
    scan_id,
)
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.volumes.formats.dicom import is_series
from mednext_cli.volumes.scan_names import SCAN_ENDINGS, ending_of, is_scan_name

logger = logging.getLogger(__name__)
_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")


def scans_in(folder: Path) -> dict[str, Path]:
    """Scan files and folders of a DICOM series, by name without ending.

    Raises:
        DatasetError: a scan is there under two names that read alike.
    """
    files = Scans(folder)
    found = {stem: files.path(stem) for stem in files}
    for name in list_names(folder):
        path = folder / name
        if not is_folder(path) or not is_series(path):
            continue
        if composed(name) in found:
            raise DatasetError(
                f"duplicate case: {found[composed(name)]} and {path} are the same scan by name",
                "Remove one.",
            )
        found[composed(name)] = path
    return found


def match_cases(
    images: dict[str, Path], labels: dict[str, Path], image_folder: Path, label_folder: Path
) -> list[Case]:
    """Cases by name; a label without an image keeps the path it would have, which is reported.

    Images that no label is named like are channels of one unlabelled case where those of the
    labelled cases are: ``p2_0000`` beside ``p1_0000``, whose label is ``p1``.

    Args:
        images: paths by name without ending.
        labels: the same.
        image_folder: for messages.
        label_folder: the same.

    Raises:
        DatasetError: there are no images, an image has a channel number and has none, or labels
            are named in another way than images.
    """
    if not images:
        raise DatasetError(
            f"{image_folder} holds no scans{_scans_below(image_folder)}",
            f"It is to hold CASE{SCAN_ENDINGS[0]}, {label_folder.name} a label map of that name.",
        )
    if not labels:
        raise DatasetError(
            f"{label_folder} holds no label maps{_scans_below(label_folder)}",
            f"It is to hold a file named like each image: {min(images)}{SCAN_ENDINGS[0]}.",
        )
    _check_channel_numbers(images, labels, label_folder)
    files = _by_case(images, labels)
    check_label_names(files, labels, image_folder, label_folder)
    orphans = sorted(set(labels) - set(files))
    if orphans:
        note = "%s: %d labels have no image of their name (%s%s)"
        logger.warning(note, label_folder, len(orphans), orphans[0], ", ..." * (len(orphans) > 1))
    for name in orphans:
        files[name] = _missing(name, image_folder, next(iter(files.values())))
    return [
        Case(name, tuple(Channel(found[number]) for number in sorted(found)), labels.get(name))
        for name, found in sorted(files.items())
    ]


def _check_channel_numbers(images: Iterable[str], labels: dict[str, Path], folder: Path) -> None:
    """Refuse labels ``CASE_0000`` where images have several channels, ``CASE_0001`` beside it."""
    numbers = {match["channel"] for name in labels if (match := _CHANNEL.fullmatch(name))}
    if numbers != {"0000"}:
        return
    for name in sorted(set(images) - set(labels)):
        match = _CHANNEL.fullmatch(name)
        if match and f"{match['id']}_0000" in labels:
            label = labels[f"{match['id']}_0000"]
            raise DatasetError(
                f"{folder / label.name} has a channel number in its name, which labels do not have",
                f"Rename it to {match['id']}{ending_of(label.name)}, and others like it.",
            )


def _missing(name: str, folder: Path, like: dict[int, Path]) -> dict[int, Path]:
    """Where the images of a case would be, if it had any; channels as another case has them."""
    plain = len(like) == 1 and not _CHANNEL.fullmatch(scan_id(like[min(like)].name))
    return {
        number: folder / f"{name}{'' if plain else f'_{number:04d}'}{SCAN_ENDINGS[0]}"
        for number in like
    }


def _scans_below(folder: Path) -> str:
    """A hint at scans that lie a level deeper, which is not looked into."""
    for name in list_names(folder):
        if is_folder(folder / name) and any(map(is_scan_name, list_names(folder / name))):
            return f" itself, but its folder {name} does"
    return ""


def _by_case(images: dict[str, Path], labels: dict[str, Path]) -> dict[str, dict[int, Path]]:
    """Image files by case and number of the channel."""
    numbered = {name: match for name in images if (match := _CHANNEL.fullmatch(name))}
    by_number = any(match["id"] in labels for name, match in numbered.items() if name not in labels)
    files: dict[str, dict[int, Path]] = {}
    for name, path in images.items():
        match = numbered.get(name)
        if match is None or name in labels or not by_number:
            files.setdefault(name, {})[0] = path
            continue
        if match["id"] in images:
            raise DatasetError(
                f"{images[match['id']]} and {path} are both images of {match['id']}",
                "Keep one of them, or name all CASE_0000, CASE_0001, ...",
            )
        files.setdefault(match["id"], {})[int(match["channel"])] = path
    return files


def channels_per_case(folder: Path, cases: list[Case]) -> int:
    """How many channels every case has; the same ones, or T1 would be learnt as T2.

    Raises:
        DatasetError: cases differ.
    """
    count, numbers = len(cases[0].channels), _numbers(cases[0])
    for case in cases:
        if len(case.channels) != count:
            found = f"{case.id} has {len(case.channels)} channels, {cases[0].id} {count}"
        elif count > 1 and _numbers(case) != numbers:
            found = f"{case.id} has the channels {_listed(_numbers(case))}, "
            found += f"{cases[0].id} {_listed(numbers)}"
        else:
            continue
        raise DatasetError(
            f"{folder}: {found}", "Give every case all channels: CASE_0000, CASE_0001, ..."
        )
    return count


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _numbers(case: Case) -> list[str]:
    """Of the channels, as their file names write them."""
    return [scan_id(channel.path.name)[-4:] for channel in case.channels]
