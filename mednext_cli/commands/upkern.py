"""`mednext upkern`: larger kernels, begun from trained small ones."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import report, report_table
from mednext_cli.settings.growth import GROWTH, Growth


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
    growth: Annotated[
        Growth,
        typer.Option(
            help="How a kernel grows: as published, with zeros around it (the network computes "
            "what it did), or by its nearest voxels."
        ),
    ] = GROWTH,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Grow a trained network's kernels to a larger size (UpKern).

    The result is a checkpoint to begin training from; the table says which kernels were grown.

    Example: mednext upkern --from runs/Hippocampus/S-k3/fold0/checkpoint_best.pt --to k5
    """
    from mednext_cli.networks.upkern import UpKernSpec, parse_kernel
    from mednext_cli.networks.upkern import upkern as run

    result = run(UpKernSpec(source, parse_kernel(to), out, growth))
    grown = [step for step in result.steps if step.action == "grow"]
    rows = [
        (tensor.name, _shape(tensor.source_shape), _shape(tensor.target_shape)) for tensor in grown
    ]
    report_table(("tensor", "from", "to"), rows, title=f"kernels grown ({growth})")
    copied = len(result.steps) - len(grown)
    report(f"{result.file}: {len(grown)} kernels grown ({growth}), {copied} tensors copied")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
