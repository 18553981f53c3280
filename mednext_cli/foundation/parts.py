"""Work that is parted among machines that do not see each other."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mednext_cli.foundation.errors import SettingsError

Item = TypeVar("Item")
_PART = re.compile(r"(\d{1,5})/(\d{1,5})")
_LIKE = "Like --part 0/4: the first of four parts."
_ID, _COUNT, _FIRST, _STEP = (f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "STEP"))


@dataclass(frozen=True)
class Part:
    """One of `total` parts, counted from 0."""

    index: int = 0
    total: int = 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every so manieth of the items; together the parts have each of them once."""
        return list(items[self.index :: self.total])


def read_part(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """The part that ``0/4`` means, or ``auto``: that of this task of a Slurm array.

    Raises:
        SettingsError: not a part, or not in a Slurm array.
    """
    if text == "auto":
        return _part_of_array(environment)
    found = _PART.fullmatch(text)
    if not found or not int(found[1]) < int(found[2]):
        raise SettingsError(f"--part {text}: not a part", _LIKE)
    return Part(int(found[1]), int(found[2]))


def _part_of_array(environment: Mapping[str, str]) -> Part:
    """Arrays may begin at any number and take steps: ``--array=1-8`` or ``0-6:2``."""
    try:
        task, total = int(environment[_ID]), int(environment[_COUNT])
        first, step = int(environment.get(_FIRST, 0)), int(environment.get(_STEP, 1))
    except (KeyError, ValueError) as error:
        raise SettingsError(
            f"--part auto: {_ID} and {_COUNT} are not set, so this is no task of a Slurm array",
            f"Submit it with sbatch --array=0-3. {_LIKE}",
        ) from error
    index = (task - first) // max(step, 1)
    if not 0 <= index < total:
        raise SettingsError(f"--part auto: {_ID}={task} is none of {total} tasks", _LIKE)
    return Part(index, total)
