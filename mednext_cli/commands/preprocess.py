"""`mednext preprocess`: a raw folder, as downloaded, into the cache."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mednext_cli.commands.options import Cache, Quiet, Verbose, Workers
from mednext_cli.commands.tables import print_table


def preprocess(
    raw: Annotated[Path, typer.Argument(help="The raw dataset as downloaded.")],
    dataset: Annotated[str, typer.Option(help="Its layout; mednext datasets ls lists them.")],
    cache: Cache = Path("mednext_cache"),
    spacing: Annotated[
        str, typer.Option(metavar="MM|median|Z,Y,X", help="Target spacing in mm, or median.")
    ] = "1.0",
    workers: Workers = None,
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option(help="How images are stored.")
    ] = "float16",
    force: Annotated[bool, typer.Option(help="Make everything anew.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Check and plan; write nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check, crop, resample and normalise every labelled case into CACHE/NAME.

    Run again, it does only what is missing or changed. Z,Y,X is head-foot, front-back, left-right.

    Example: mednext preprocess raw/ --dataset kits19
    """
    from mednext_cli.preprocessing.run import PreprocessSpec
    from mednext_cli.preprocessing.run import preprocess as run
    from mednext_cli.preprocessing.spacing import parse_spacing

    spec = PreprocessSpec(
        raw=raw,
        layout=dataset,
        cache=cache,
        spacing_mm=parse_spacing(spacing),
        workers=workers,
        stored_type=dtype,
        force=force,
        dry_run=dry_run,
    )
    result = run(spec)
    plan = result.plan
    rows = [
        ("cache", str(result.folder)),
        ("cases made", str(result.made)),
        ("cases kept", str(result.kept)),
        ("spacing (mm)", " x ".join(f"{length:g}" for length in plan.spacing_mm)),
        ("patch (voxels)", " x ".join(map(str, plan.patch_voxels))),
        ("batch", str(plan.batch_size)),
        *(
            (f"channel {name}", _describe(normalisation))
            for name, normalisation in zip(plan.channels, plan.normalisation, strict=True)
        ),
        ("labels", ", ".join(f"{value} {name}" for name, value in plan.labels.items())),
        ("regions", ", ".join(plan.regions)),
    ]
    print_table(("what", "value"), rows)
    result.raise_failed()


def _describe(normalisation: object) -> str:
    values = dict(normalisation)  # type: ignore[call-overload]
    if values["scheme"] != "ct":
        return str(values["scheme"]) + (" of non-zero voxels" if values["use_nonzero_mask"] else "")
    return "ct: clip to {lower:.0f}..{upper:.0f}, mean {mean:.1f}, std {std:.1f}".format(**values)
