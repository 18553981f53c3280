"""The errors a user can cause. Only `mednext_cli.app.main` turns them into text and exit codes."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any


class MednextError(Exception):
    """Something a user can put right: one line that says what is wrong and what to do.

    Args:
        message: what is wrong, naming the file, option or case.
        remedy: what to do about it, ideally the next command to type.
    """

    exit_code = 2

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        end = "" if self.message.endswith((".", "?", "!")) else "."
        text = f"{self.message}{end} {self.remedy}" if self.remedy else self.message
        return " ".join(text.split())


class ScanError(MednextError, ValueError):
    """One scan or label map cannot be read or used."""


class DatasetError(MednextError, ValueError):
    """A raw folder does not follow the layout it is said to have."""


class CacheError(MednextError, ValueError):
    """A cache is missing, damaged or of another version."""


class CheckpointError(MednextError, ValueError):
    """A checkpoint is missing, damaged, unsafe, or of another architecture."""


class SettingsError(MednextError, ValueError):
    """An option or a recipe holds a value that cannot be used."""


class PluginError(MednextError, LookupError):
    """A plugin is unknown, broken, or takes the name of another."""


class StorageError(MednextError, OSError):
    """The disk refused: full, read-only, no permission."""


class FailedCases(MednextError):
    """Some cases failed; the others are done.

    Args:
        reasons: one line per failed case, by case id.
        total: the number of cases that were asked for.
        remedy: what to do next.
    """

    def __init__(self, reasons: Mapping[str, str], total: int, remedy: str) -> None:
        super().__init__(f"{len(reasons)} of {total} cases failed: {', '.join(reasons)}", remedy)
        self.reasons = dict(reasons)
        self.total = total

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reasons, self.total, self.remedy)


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Text that lists the known names, the nearest first: ``did you mean ...? Known: ...``."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"{guess}Known: {', '.join(names) or 'none'}"
