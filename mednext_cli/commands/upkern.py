"""`mednext upkern`: larger kernels, begun from trained small ones."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import report, report_table


def upkern(
    source: Annotated[
        Path, typer.Option("--from", metavar="CHECKPOINT", help="Checkpoint with small kernels.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="KERNEL", help="k5 or k7, say.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File.", show_default="beside the source: NAME_upkern_k5.pt"
        ),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Resample a trained network's kernels to a larger size (UpKern).

    The result is a checkpoint to begin training from; the table says what was resampled.

    Example: mednext upkern --from runs/Hippocampus/S-k3/fold0/checkpoint_best.pt --to k5
    """
    from mednext_cli.networks.upkern import UpKernSpec, parse_kernel
    from mednext_cli.networks.upkern import upkern as run

    result = run(UpKernSpec(source, parse_kernel(to), out))
    resampled = [step for step in result.steps if step.action == "resample"]
    rows = [
        (tensor.name, _shape(tensor.source_shape), _shape(tensor.target_shape))
        for tensor in resampled
    ]
    report_table(("tensor", "from", "to"), rows, title="resampled")
    copied = len(result.steps) - len(resampled)
    report(f"{result.file}: {len(resampled)} resampled, {copied} copied")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
