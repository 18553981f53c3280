"""What became of the work on an item: a value, or one line that says why there is none."""

import logging
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from mednext_cli.foundation.errors import FailedCases, MednextError

Value = TypeVar("Value")
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
    outcomes: Iterable[Outcome[Any]], total: int, remedy: str, others: str = ""
) -> FailedCases:
    """The error to raise at the end for those of the outcomes that are failures, by name.

    Args:
        outcomes: failures, and maybe others.
        total: the number of cases that were asked for.
        remedy: what to do next.
        others: what became of the other cases, a sentence; said only where there are others.
    """
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    failed.sort(key=attrgetter("name"))
    reasons = {outcome.name: outcome.error or "" for outcome in failed}
    ours = [outcome.name for outcome in failed if outcome.ours]
    return FailedCases(reasons, total, remedy, ours, others)


def raise_failures(
    outcomes: Iterable[Outcome[Any]], total: int, remedy: str, others: str = ""
) -> None:
    """Raise what `failed_cases` makes of the failures among outcomes, if there are any."""
    error = failed_cases(outcomes, total, remedy, others)
    if error.reasons:
        raise error


def failure(name: str, error: BaseException, workers: int | None = 0) -> Outcome[Any]:
    """An error as one line; of the user's doing, the machine's, or ours.

    Args:
        name: of the item.
        error: what its work raised.
        workers: processes at work; None on a cluster.

    Raises:
        BaseException: `error` itself where it is no `Exception`, as when interrupted.
    """
    if isinstance(error, MednextError):
        return Outcome(name, error=str(error))
    if not isinstance(error, Exception):
        raise error
    logger.debug("%s", name, exc_info=error)
    return Outcome(name, error=_explain(error, workers), ours=_is_ours(error))


def _is_ours(error: Exception) -> bool:
    from pebble import ProcessExpired

    return not isinstance(error, MemoryError | ProcessExpired)


def _explain(error: Exception, workers: int | None) -> str:
    """One line for the end of an item's work; `workers` is None on a cluster."""
    from pebble import ProcessExpired

    fewer = workers is not None and workers > 1
    if isinstance(error, MemoryError):
        remedy = "Use fewer workers (--workers 1) or more memory." if fewer else "Use more memory."
        return f"not enough memory for this case. {remedy}"
    if not isinstance(error, ProcessExpired):
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{text}. This is a fault of ours; --verbose shows where, please report it."
    code: Any = error.exitcode
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        remedy = (
            "Run the same command again with --workers 1."
            if fewer
            else "Run the same command again on a machine with more memory."
        )
        return f"the worker was killed, most likely for its memory. {remedy}"
    return f"the worker died with exit code {code}. Run again with --workers 0 to see why."
