"""Scans put together to cases: files of one case, ids that are unique and fit a file's name."""

import hashlib
import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.inference.findings.files import EARLIER_PROBABILITIES

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_LONGEST_ID = 255 - len(EARLIER_PROBABILITIES)  # bytes: what file systems take
Groups = dict[str, dict[int, Path]]  # files by number, by the name before the number
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """A scan that was found.

    Attributes:
        prefix: the folders it lies in.
        name: of the file without its ending, or of the folder of a DICOM series.
        path: the file or folder.
    """

    prefix: tuple[str, ...]
    name: str
    path: Path

    @property
    def id(self) -> str:
        """Of the case, if this is one."""
        return join_id(self.prefix, self.name)


@dataclass(frozen=True)
class UnreadCase(Case):
    """A scan of which is known, before it is opened, that it cannot be read.

    Attributes:
        problem: why, and what to do.
    """

    problem: str = ""


def join_id(prefix: Sequence[str], name: str) -> str:
    """The id of a case in these folders, its letters composed (NFC)."""
    return unicodedata.normalize("NFC", "_".join((*prefix, name)))


def group_cases(
    items: Sequence[Item], channels: int, unread: Iterable[UnreadCase] = ()
) -> list[Case]:
    """Cases sorted by id: files of one folder together that are numbered as nnU-Net numbers
    channels, every other scan by itself.

    Args:
        items: the scans.
        channels: of the network.
        unread: cases that are none of the scans.

    Raises:
        DatasetError: two of them have the same id.
    """
    folders: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in items:
        folders[item.prefix].append(item)
    found: dict[str, Case] = {}
    for prefix, inside in folders.items():
        for case in _cases(prefix, inside, channels):
            _add(found, case)
    for case in unread:
        _add(found, case)
    return [found[name] for name in sorted(found)]


def _add(found: dict[str, Case], case: Case) -> None:
    if case.id in found:
        _refuse_pair(case.channels[0].path, found[case.id].channels[0].path, case.id)
    found[case.id] = case


def _refuse_pair(path: Path, other: Path, case_id: str) -> None:
    where = f" ({case_id})" if path.parent != other.parent else ""
    names = (path.name, other.name) if not where else (path, other)
    raise DatasetError(
        f"{names[0]} and {names[1]} are the same case{where}", "Remove or rename one."
    )


def _cases(prefix: tuple[str, ...], items: list[Item], channels: int) -> list[Case]:
    groups = _numbered(items, channels)
    together = {path for group in groups.values() for path in group.values()}
    cases = [
        Case(join_id(prefix, name), tuple(Channel(group[number]) for number in sorted(group)))
        for name, group in groups.items()
    ]
    alone = [item for item in items if item.path not in together]
    return cases + [Case(item.id, _volumes(item.path, channels)) for item in alone]


def _volumes(path: Path, channels: int) -> tuple[Channel, ...]:
    if channels == 1:
        return (Channel(path),)
    return tuple(Channel(path, index) for index in range(channels))


def _numbered(items: list[Item], channels: int) -> Groups:
    """Files whose numbers name channels: those with a ``_0000`` beside them.

    AMOS and others number their cases the same way, from 1 on. Files that are all of one such row,
    from 0 on, are taken as cases too where the network has one channel.
    """
    groups: Groups = defaultdict(dict)
    for item in items:
        match = _CHANNEL.fullmatch(item.name)
        if match is None:
            continue
        name, number = unicodedata.normalize("NFC", match[1]), int(match[2])
        if number in groups[name]:
            _refuse_pair(item.path, groups[name][number], item.id)
        groups[name][number] = item.path
    found = {name: group for name, group in groups.items() if 0 in group}
    if (
        channels == 1
        and len(items) > 1
        and [len(group) for group in found.values()] == [len(items)]
    ):
        logger.info("%s and the others are taken as cases, not channels", items[0].path.name)
        return {}
    return found


def short_ids(cases: Iterable[Case]) -> list[Case]:
    """The cases, with ids short enough for the names of their label maps."""
    return [_short(case) for case in cases]


def _short(case: Case) -> Case:
    name = case.id.encode()
    if len(name) <= _LONGEST_ID:
        return case
    end = f"-{hashlib.sha256(name).hexdigest()[:8]}"
    short = name[: _LONGEST_ID - len(end)].decode(errors="ignore") + end
    logger.warning("%s is too long for a file's name: the case is called %s", case.id, short)
    return replace(case, id=short)
