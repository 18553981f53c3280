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

VERIFY_COLUMNS = (
    "case",
    "labelled",
    "shape",
    "spacing_mm",
    "minimum",
    "maximum",
    "label_values",
    "problems",
    "notes",
)


_CACHE_COLUMNS = ("dataset", "case", "problem")


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
    from mednext_cli.datasets.verify import VerifySpec
    from mednext_cli.datasets.verify import verify as run
    from mednext_cli.foundation.errors import FailedCases, SettingsError
    from mednext_cli.foundation.files import write_csv

    if cache is not None and raw is None:
        _verify_cache(cache, out, workers)
        return
    if raw is None or dataset is None or cache is not None:
        raise SettingsError(
            "what is to be verified?", "Give RAW and --dataset, or --cache and neither of them."
        )
    options = layout_options(modality, structures, region_training, labels)
    result = run(VerifySpec(raw, dataset, workers, options))
    rows = [_row(one) for one in result.checks]
    print_table(VERIFY_COLUMNS, rows)
    if out is not None:
        write_csv(out / "verify.csv", VERIFY_COLUMNS, rows)
    if result.problems:
        raise FailedCases(
            result.problems,
            len(result.checks),
            "Correct these files or take the cases out.",
            result.ours,
            "mednext preprocess does the others.",
        )


def _verify_cache(cache: Path, out: Path | None, workers: int | None) -> None:
    from mednext_cli.cache.verify import find_caches, verify_cache
    from mednext_cli.foundation.errors import FailedCases
    from mednext_cli.foundation.files import write_csv

    checks = [check for folder in find_caches(cache) for check in verify_cache(folder, workers)]
    rows = [(check.dataset, check.case, check.problem) for check in checks]
    print_table(_CACHE_COLUMNS, rows)
    if out is not None:
        write_csv(out / "verify.csv", _CACHE_COLUMNS, rows)
    bad = {f"{check.dataset}/{check.case}": check.problem for check in checks if check.problem}
    if bad:
        raise FailedCases(
            bad, len(checks), "Delete these case files and run mednext preprocess again."
        )


def _row(check: "CaseCheck") -> tuple[object, ...]:
    return (
        check.case,
        int(check.labelled),
        "x".join(map(str, check.shape or ())),
        "x".join(f"{length:.4g}" for length in check.spacing_mm or ()),
        check.minimum,
        check.maximum,
        " ".join(map(str, check.label_values)),
        "; ".join(check.problems),
        "; ".join(check.notes),
    )
