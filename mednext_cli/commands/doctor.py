"""`mednext doctor`: is this installation sound, and which operators are fastest here?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import Device, OutputFolder, Precision, Quiet, Verbose
from mednext_cli.commands.tables import print_table, report, report_table
from mednext_cli.foundation.errors import MednextError, SettingsError

if TYPE_CHECKING:
    from mednext_cli.doctor.operators import OperatorsSpec

_SHOWN = (
    "block", "operators", "layout", "cudnn_benchmark", "threads", "milliseconds",
    "spread_milliseconds", "teraflops", "gigabytes_per_second", "roofline_share", "deviation",
    "chosen", "struck_out",
)  # fmt: skip


def doctor(
    operators: Annotated[
        bool,
        typer.Option(
            "--operators", help="Instead, measure which operators run a network fastest here."
        ),
    ] = False,
    network: Annotated[
        str, typer.Option(help="With --operators: size and kernel of MedNeXt.")
    ] = "S-k3",
    patch: Annotated[str, typer.Option(help="With --operators: voxels, 128 or D,H,W.")] = "128",
    batch: Annotated[int, typer.Option(min=1, help="With --operators: patches at once.")] = 2,
    prediction: Annotated[
        bool,
        typer.Option("--prediction", help="With --operators: without gradients, as in predict."),
    ] = False,
    precision: Precision = "auto",
    device: Device = "auto",
    out: OutputFolder = Path("operators"),
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say versions, cores, memory and devices, and try what every command needs.

    With --operators: every way to run each distinct block of a network is compared with float32 and
    timed, in minutes, in a process of its own. What is chosen is kept in your cache folder and
    taken by runs of the same work (operators = auto); the table is written to operators.csv.

    Example: mednext doctor --operators --network L-k5
    """
    if not operators:
        _refuse_alone(network != "S-k3", patch != "128", batch != 2, prediction)
        _examine()
        return
    from mednext_cli.doctor.operators import OperatorsSpec
    from mednext_cli.scaling.specification import parse_patch

    _measure(
        OperatorsSpec(network, parse_patch(patch), batch, precision, not prediction, device, out)
    )


def _examine() -> None:
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


def _refuse_alone(*given: bool) -> None:
    if any(given):
        raise SettingsError(
            "--network, --patch, --batch and --prediction are about operators", "Add --operators."
        )


def _measure(spec: "OperatorsSpec") -> None:
    from mednext_cli.doctor.operators import measure_operators

    result = measure_operators(spec)
    report_table(_SHOWN, [[row[name] for name in _SHOWN] for row in result.rows], title="operators")
    for line in (*result.summaries, str(result.table)):
        report(line)
