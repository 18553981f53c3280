"""What became of the work on an item: a value, or one line that says why there is none."""

import errno
import logging
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from mednext_cli.foundation.errors import FailedCases, MednextError, StorageError

Value = TypeVar("Value")
_OF_ONE_FILE = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of one item.

    Attributes:
        name: of the item, a case id.
        value: what the work gave, None where it failed.
        error: one line that says why it failed.
        ours: whether it failed by an unexpected error, which no user can put right.
    """

    name: str
    value: Value | None = None
    error: str | None = None
    ours: bool = False


def failed_cases(
    outcomes: Iterable[Outcome[Any]],
    total: int,
    remedy: str,
    others: str = "",
    what: str = "cases",
) -> FailedCases:
    """The error to raise at the end for those of the outcomes that are failures, by name.

    Args:
        outcomes: failures, and maybe others.
        total: the number of cases that were asked for.
        remedy: what to do next.
        others: what became of the other cases, a sentence; said only where there are others.
        what: the items are.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    failed.sort(key=attrgetter("name"))
    reasons = {outcome.name: outcome.error or "" for outcome in failed}
    ours = [outcome.name for outcome in failed if outcome.ours]
    return FailedCases(reasons, total, remedy, ours, others, what)


def raise_failures(
    outcomes: Iterable[Outcome[Any]],
    total: int,
    remedy: str,
    others: str = "",
    what: str = "cases",
) -> None:
    """Raise what `failed_cases` makes of the failures among outcomes, if there are any."""
    error = failed_cases(outcomes, total, remedy, others, what)
    if error.reasons:
        raise error


def attempt(name: str, work: Callable[[], Value], fewer: str = "") -> Outcome[Value]:
    """Do the work on one item; an error that is its own becomes the outcome's.

    Args:
        name: of the item.
        work: what is to be done.
        fewer: see `failure`.

    Raises:
        StorageError: the disk refuses; it would refuse the others, too.
    """
    try:
        return Outcome(name, value=work())
    except Exception as error:
        return failure(name, error, fewer)


def failure(name: str, error: BaseException, fewer: str = "") -> Outcome[Any]:
    """An error as one line, which is also said; of the user's doing, the machine's, or ours.

    Args:
        name: of the item.
        error: what its work raised.
        fewer: the option with which fewer items take memory at once; empty where none does.

    Raises:
        StorageError: the disk refuses; it would refuse the others, too.
        BaseException: `error` itself where it is no `Exception`, as when interrupted.
    """
    refused = isinstance(error, StorageError) and error.errno not in _OF_ONE_FILE
    if refused or not isinstance(error, Exception):
        raise error
    if isinstance(error, MednextError):
        outcome = Outcome[Any](name, error=str(error))
    else:
        logger.debug("%s", name, exc_info=error)
        outcome = Outcome[Any](name, error=_explain(error, fewer), ours=_is_ours(error))
    logger.warning("%s: %s", name, outcome.error)
    return outcome


def _is_ours(error: Exception) -> bool:
    from pebble import ProcessExpired

    return not isinstance(error, MemoryError | ProcessExpired)


def _explain(error: Exception, fewer: str) -> str:
    """One line for the end of an item's work."""
    from pebble import ProcessExpired

    if isinstance(error, MemoryError):
        remedy = f"Use fewer workers ({fewer}) or more memory." if fewer else "Use more memory."
        return f"not enough memory for this case. {remedy}"
    if not isinstance(error, ProcessExpired):
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{text}. This is a fault of ours; --verbose shows where, please report it."
    code: Any = error.exitcode
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        remedy = f"with {fewer}" if fewer else "on a machine with more memory"
        return (
            "the worker was killed, most likely for its memory. "
            f"Run the same command again {remedy}."
        )
    return f"the worker died with exit code {code}. Run again with --workers 0 to see why."
