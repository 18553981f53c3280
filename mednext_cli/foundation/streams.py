"""Standard streams that are closed, full, no longer read, or cannot show a character."""

import io
import os
import sys

from mednext_cli.foundation.errors import MednextError


class OutputRefused(MednextError):
    """Standard output cannot be written; without a message where its reader just left.

    Args:
        error: what the system says.
    """

    def __init__(self, error: OSError) -> None:
        left = isinstance(error, BrokenPipeError)
        reason = os.strerror(error.errno or 0).lower()
        super().__init__("" if left else f"standard output cannot be written: {reason}")
        self.exit_code = 141 if left else 2  # 141: what a shell says of an end by SIGPIPE


class _Output(io.TextIOWrapper):
    """Standard output that refuses with `OutputRefused`, once, and drops what comes after."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _refused(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _refused(error) from error


def _refused(error: OSError) -> OutputRefused:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python tries again when it ends
    return OutputRefused(error)


def prepare_streams() -> None:
    """Give a process that was started with closed streams empty ones, and guard its output.

    Otherwise the next file it opens takes the number of stdout, and libraries print into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, encoding="utf-8"))  # noqa: SIM115 - stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding, lines = sys.stdout.encoding, sys.stdout.line_buffering
        sys.stdout = _Output(sys.stdout.detach(), encoding, "backslashreplace", None, lines)
