"""`mednext doctor`: is this installation sound?"""

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import print_table
from mednext_cli.foundation.errors import MednextError


def doctor(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Say versions, cores, memory and devices, and try what every command needs.

    Example: mednext doctor
    """
    from mednext_cli.doctor.examination import examine

    findings = examine()
    print_table(
        ("what", "found", "status"),
        [(finding.what, finding.found, finding.status) for finding in findings],
    )
    failed = [finding.what for finding in findings if finding.status == "failed"]
    if failed:
        raise MednextError(
            f"{len(failed)} checks failed: {', '.join(failed)}", "The table says what was found."
        )
