"""Options that mean the same thing in every command."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mednext_cli.foundation.progress import set_verbosity

if TYPE_CHECKING:
    from mednext_cli.datasets.options import LayoutOptions


def _be_quiet(wanted: bool) -> bool:
    """What a callback returns is what the command gets."""
    if wanted:
        set_verbosity(quiet=True)
    return wanted


def _be_verbose(wanted: bool) -> bool:
    if wanted:
        set_verbosity(verbose=True)
        logging.captureWarnings(True)
    return wanted


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_be_quiet, help="Say warnings and errors only.")
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_be_verbose, help="Say more; tracebacks of our faults."
    ),
]
Cache = Annotated[Path, typer.Option(help="Folder that holds the caches, one a dataset.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        show_default="as many as cores and free memory allow",
        help="Worker processes; 0 works in this process.",
    ),
]
Modality = Annotated[
    Literal["ct", "mr", "all"] | None,
    typer.Option(
        show_default="all", help="amos22: which scans. folder: what they are (CT is clipped)."
    ),
]
Structures = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES|FILE",
        show_default="all that are found",
        help="totalsegmentator: which, with commas between or one a line, as labels 1, 2, ...",
    ),
]
RegionTraining = Annotated[
    bool | None,
    typer.Option(
        "--region-training/--label-training",
        show_default="label training",
        help="BraTS: networks predict the nested regions (sigmoid) or the labels (softmax).",
    ),
]
LabelNames = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="NAME=VALUE,...",
        show_default="of dataset.json, else label_1, ...",
        help="folder: what label values are called, like liver=1,tumour=2.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Operators = Annotated[
    Literal["auto", "fused", "stock"] | None,
    typer.Option(
        show_default="the recipe's, or auto",
        help="Fused operators where measured to be faster (auto), always, or PyTorch's (stock).",
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="Of the network; auto is as in training on a GPU, else float32."),
]
PredictionPrecision = Annotated[
    Literal["auto", "float32", "bfloat16", "float16", "int8"],
    typer.Option(
        help="Of the network; auto is as in training on a GPU, else float32. int8 is of the engine "
        "openvino, by mednext export."
    ),
]
OutputFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]


def layout_options(
    modality: Literal["ct", "mr", "all"] | None = None,
    structures: str | None = None,
    region_training: bool | None = None,
    labels: str | None = None,
) -> "LayoutOptions":
    """What a command's layout options say, as layouts take it."""
    from mednext_cli.datasets.described_labels import read_listed_labels
    from mednext_cli.datasets.options import LayoutOptions, read_structures

    names = None if structures is None else read_structures(structures)
    label_set = None if labels is None else read_listed_labels(labels)
    return LayoutOptions(modality, names, region_training, label_set)
