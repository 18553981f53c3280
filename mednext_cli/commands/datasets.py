"""`mednext datasets`: which raw layouts there are, and whether a folder is in order."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mednext_cli.commands.options import (
    LabelNames,
    Modality,
    Quiet,
    RegionTraining,
    Structures,
    Verbose,
    Workers,
    layout_options,
)
from mednext_cli.commands.tables import print_table

if TYPE_CHECKING:
    from mednext_cli.datasets.verify import CaseCheck

app = typer.Typer(help="List raw layouts; check raw folders.", no_args_is_help=True)


@app.command("ls")
def list_layouts(quiet: Quiet = False, verbose: Verbose = False) -> None:
    """List the raw layouts that --dataset takes.

    Example: mednext datasets ls
    """
    from mednext_cli.datasets.registry import describe_layouts

    print_table(("dataset", "package", "layout"), describe_layouts())


@app.command("verify")
def verify(
    raw: Annotated[Path | None, typer.Argument(help="Raw folder, as downloaded.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Its layout: see mednext datasets ls.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Check a cache instead: its files against their checksums.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for verify.csv.")] = None,
    modality: Modality = None,
    structures: Structures = None,
    region_training: RegionTraining = None,
    labels: LabelNames = None,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Read every file of a raw folder, or of a cache, and list what is wrong.

    Checks files, geometry, intensities, label values, and cases that are there twice. The exit
    code is 2 where something is wrong.

    Example: mednext datasets verify Task04_Hippocampus --dataset msd
    """
    from mednext_cli.datasets.columns import VERIFIED
    from mednext_cli.datasets.verify import VerifySpec
    from mednext_cli.datasets.verify import verify as run
    from mednext_cli.foundation.errors import SettingsError

    if cache is not None and raw is None:
        _verify_cache(cache, out, workers)
        return
    if raw is None or dataset is None or cache is not None:
        raise SettingsError(
            "what is to be verified?", "Give RAW and --dataset, or --cache and neither of them."
        )
    options = layout_options(modality, structures, region_training, labels)
    result = run(VerifySpec(raw, dataset, workers, options))
    rows = [_row(check) for check in result.checks]
    print_table(VERIFIED.names, map(VERIFIED.cells, rows))
    if out is not None:
        VERIFIED.write(out / "verify.csv", rows)
    result.raise_failed()


def _verify_cache(cache: Path, out: Path | None, workers: int | None) -> None:
    from mednext_cli.cache.columns import VERIFIED_CACHE
    from mednext_cli.cache.verify import VerifyCacheSpec, verify_cache

    result = verify_cache(VerifyCacheSpec(cache, workers))
    rows = [vars(check) for check in result.checks]
    print_table(VERIFIED_CACHE.names, map(VERIFIED_CACHE.cells, rows))
    if out is not None:
        VERIFIED_CACHE.write(out / "verify.csv", rows)
    result.raise_failed()


def _row(check: "CaseCheck") -> dict[str, object]:
    return {
        **vars(check),
        "labelled": int(check.labelled),
        "shape": "x".join(map(str, check.shape or ())),
        "spacing_mm": "x".join(f"{length:.4g}" for length in check.spacing_mm or ()),
        "label_values": " ".join(map(str, check.label_values)),
        "problems": "; ".join(check.problems),
        "notes": "; ".join(check.notes),
    }
