"""Progress: a bar with an estimate on a terminal, plain lines elsewhere; always on stderr."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mednext_cli.foundation.text import printable

_SECONDS_BETWEEN_LINES = 10.0
logger = logging.getLogger("mednext_cli")


class Progress(Protocol):
    """What long work reports to."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """`steps` more are done; `note` is a short text beside the bar, further lines below it."""

    def expect(self, total: int) -> None:
        """There are `total` steps, as is known better now."""


def set_verbosity(*, quiet: bool = False, verbose: bool = False) -> None:
    """Route notes to stderr: warnings alone, notes (the default), or everything."""
    level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    handler = _StderrHandler()
    handler.setFormatter(_NoteFormatter())
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(level)


class _StderrHandler(logging.Handler):
    """Writes to what is stderr now: whoever calls `main` may have put another stream there."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


class _NoteFormatter(logging.Formatter):
    """Plain notes; warnings and errors say what they are. Names in them steer no terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return printable(record.message)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


@contextmanager
def track(description: str, total: int, unit: str = "cases", done: int = 0) -> Iterator[Progress]:
    """Report progress of `total` steps of work while the block runs.

    Args:
        description: what is being done, in a few words.
        total: how many steps there are.
        unit: what a step is, in the plural.
        done: steps of an earlier run; the estimate leaves them out.
    """
    if not logger.isEnabledFor(logging.INFO) or total == 0:
        yield _Silent()
    elif sys.stderr.isatty():
        with _bar(description, total, unit, done) as bar:
            yield bar
    else:
        lines = _Lines(description, total, unit, done)
        yield lines
        lines.close()


class _Silent:
    def advance(self, steps: int = 1, note: str = "") -> None:
        """Say nothing."""

    def expect(self, total: int) -> None:
        """Say nothing."""


class _Lines:
    """A plain line now and then, for logs and pipes."""

    def __init__(self, description: str, total: int, unit: str, done: int) -> None:
        self._text, self._total, self._unit = description, total, unit
        self._done = self._said = self._earlier = done
        self._started = self._last = time.monotonic()

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        now = time.monotonic()
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._say(now, note)

    def expect(self, total: int) -> None:
        self._total = total

    def close(self) -> None:
        if self._said != self._done:
            self._say(time.monotonic(), "")

    def _say(self, now: float, note: str) -> None:
        self._said = self._done
        elapsed = now - self._started
        steps = self._done - self._earlier
        left = elapsed / steps * (self._total - self._done) if steps else None
        logger.info(
            "%s: %d/%d %s, %s elapsed%s%s",
            self._text,
            self._done,
            self._total,
            self._unit,
            format_seconds(elapsed),
            "" if left is None else f", {format_seconds(left)} left",
            f" ({beside})" if (beside := note.partition("\n")[0]) else "",
        )


@contextmanager
def _bar(description: str, total: int, unit: str, done: int) -> Iterator[Progress]:
    from rich import progress
    from rich.console import Console, Group, RenderableType
    from rich.highlighter import NullHighlighter
    from rich.logging import RichHandler
    from rich.text import Text

    class _WithLines(progress.Progress):
        """A bar with lines below it."""

        below = ""

        def get_renderable(self) -> RenderableType:
            bar = super().get_renderable()
            return Group(bar, Text(self.below)) if self.below else bar

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}", markup=False),  # a case id
    )
    console = Console(stderr=True)
    handlers = logger.handlers
    # Notes printed through the bar's own console do not tear it.
    above = RichHandler(
        console=console,
        show_time=False,
        show_path=False,
        show_level=False,
        highlighter=NullHighlighter(),
    )
    above.setFormatter(_NoteFormatter())
    logger.handlers = [above]
    try:
        with _WithLines(*columns, console=console) as bars:
            task = bars.add_task(description, total=total, completed=done, note="")

            class _Bar:
                def advance(self, steps: int = 1, note: str = "") -> None:
                    beside, _, below = note.partition("\n")
                    bars.below = "\n".join(map(printable, below.splitlines()))
                    bars.update(task, advance=steps, note=printable(beside))

                def expect(self, total: int) -> None:
                    bars.update(task, total=total)

            yield _Bar()
    finally:
        logger.handlers = handlers


def format_seconds(seconds: float) -> str:
    """A duration as people say it: ``8 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
