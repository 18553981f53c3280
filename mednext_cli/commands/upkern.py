"""`mednext upkern`: larger kernels, begun from trained small ones."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.commands.tables import report, report_table
from mednext_cli.settings.growth import GROWTH, Growth


def upkern(
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            metavar="CHECKPOINT",
            help="Checkpoint with small kernels, its run folder, or a name of mednext models ls.",
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="KERNEL", help="k5 or k7, say.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File.",
            show_default="beside the source, of a model by name here: NAME_upkern_k5.pt",
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
    from mednext_cli.inference.catalogue.checkpoints import one_checkpoint
    from mednext_cli.inference.catalogue.names import is_model_name
    from mednext_cli.networks.upkern import UpKernSpec, parse_kernel
    from mednext_cli.networks.upkern import upkern as run

    spec = UpKernSpec(one_checkpoint(source, "--from"), parse_kernel(to), out, growth)
    if out is None and is_model_name(source):  # whose folder is not the user's to write into
        spec = replace(spec, out=Path(f"{source}{spec.ending}"))
    result = run(spec)
    grown = [step for step in result.steps if step.action == "grow"]
    rows = [
        (tensor.name, _shape(tensor.source_shape), _shape(tensor.target_shape)) for tensor in grown
    ]
    report_table(("tensor", "from", "to"), rows, title=f"kernels grown ({growth})")
    copied = len(result.steps) - len(grown)
    report(f"{result.file}: {len(grown)} kernels grown ({growth}), {copied} tensors copied")


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
