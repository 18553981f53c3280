"""The errors a user can cause. Only `mednext_cli.app.main` turns them into text and exit codes."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any, get_args


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
    """The disk refused: full, read-only, no permission.

    Args:
        message: see `MednextError`.
        remedy: likewise.
        number: of the system's error, the attribute `errno`; None where it has none.
    """

    def __init__(self, message: str, remedy: str = "", number: int | None = None) -> None:
        super().__init__(message, remedy)
        self.errno = number

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.remedy, self.errno)


_MOST_NAMED = 10
_REPORT = "Run one of them with --verbose and report what it says."


class FailedCases(MednextError):
    """Some cases failed, or folds, or all; the exit code is 1 where one by a fault of ours.

    Args:
        reasons: one line per failed case, by case id.
        total: the number of cases that were asked for.
        remedy: what to do next; where every failure is a fault of ours, that is to report it.
        ours: the cases that failed by an unexpected error.
        others: what became of the other cases, a sentence; said only where there are others.
        what: failed.
    """

    def __init__(
        self,
        reasons: Mapping[str, str],
        total: int,
        remedy: str,
        ours: Collection[str] = (),
        others: str = "",
        what: str = "cases",
    ) -> None:
        message = f"{len(reasons)} of {total} {what} failed: {_listed(list(reasons))}"
        if ours:
            message += f" ({_whose(sorted(ours), len(reasons))})"
        rest = others if len(reasons) < total else ""
        advice = _REPORT if len(ours) == len(reasons) else remedy
        super().__init__(message, " ".join(f"{rest} {advice}".split()))
        self.reasons = dict(reasons)
        self.total = total
        self.ours = frozenset(ours)
        self.exit_code = 1 if ours else 2
        self._words = (remedy, others, what)

    def __reduce__(self) -> tuple[Any, ...]:
        remedy, others, what = self._words
        return type(self), (self.reasons, self.total, remedy, self.ours, others, what)


def _listed(names: list[str]) -> str:
    """The names with commas between; of many the first, and how many more."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _whose(ours: list[str], failed: int) -> str:
    which = "" if len(ours) == failed else f"{_listed(ours)} "
    return f"{which}by a fault of ours"


def check_choice(option: str, given: str | None, choices: object) -> None:
    """Refuse a word that is none of a `Literal`'s; the command line has refused it already.

    Args:
        option: how the command line calls it.
        given: what was chosen; None where nothing was.
        choices: the `Literal`.

    Raises:
        SettingsError: the word is none of them.
    """
    known = list(get_args(choices))
    if given is not None and given not in known:
        raise SettingsError(f"{option} {given}", nearest(given, known))


def nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    """Text that lists the known names, the nearest first: ``did you mean ...? Known: ...``."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    guess = f"Did you mean {close[0]}? " if close else ""
    return f"{guess}Known: {', '.join(names) or 'none'}"
