"""Commands that end in every way a command can end."""

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.foundation.errors import FailedCases, ScanError


def raise_user(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """End with what a user can put right."""
    raise ScanError("scan.nii.gz is\ncut off.", "Copy it again.")


def raise_cases(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """End with some cases failed."""
    raise FailedCases({"b": "too dark", "a": "too bright"}, 5, "Look at them.")


def raise_interrupt(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """End by Ctrl-C."""
    raise KeyboardInterrupt


def raise_bug(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """End with a fault of ours."""
    raise ZeroDivisionError("two\nlines")
