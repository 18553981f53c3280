"""`mednext preprocess`: a raw folder, as downloaded, into the cache."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mednext_cli.commands.options import (
    Cache,
    LabelNames,
    Modality,
    Quiet,
    RegionTraining,
    Structures,
    Verbose,
    Workers,
    layout_options,
)
from mednext_cli.commands.tables import report_table

if TYPE_CHECKING:
    from mednext_cli.preprocessing.run import PreprocessResult

logger = logging.getLogger(__name__)
Spacing = Annotated[
    str | None,
    typer.Option(
        metavar="MM|median|Z,Y,X",
        help="Target spacing in mm, or median.",
        show_default="1.0, or the plan's",
    ),
]
ResampleLabels = Annotated[
    bool,
    typer.Option(
        "--resample-labels",
        help="Bring label maps on another grid onto their image's (nearest voxel).",
    ),
]


def preprocess(
    raw: Annotated[Path, typer.Argument(help="The raw dataset as downloaded.")],
    dataset: Annotated[str, typer.Option(help="Its layout; mednext datasets ls lists them.")],
    cache: Cache = Path("mednext_cache"),
    modality: Modality = None,
    structures: Structures = None,
    region_training: RegionTraining = None,
    labels: LabelNames = None,
    spacing: Spacing = None,
    plan: Annotated[Path | None, typer.Option(help="Follow this plan (JSON).")] = None,
    write_plan: Annotated[Path | None, typer.Option(help="Write the plan there (JSON).")] = None,
    workers: Workers = None,
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option(help="How images are stored.")
    ] = "float16",
    force: Annotated[bool, typer.Option(help="Make everything anew.")] = False,
    resample_labels: ResampleLabels = False,
    dry_run: Annotated[bool, typer.Option(help="Check and plan; write nothing.")] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on the Dask cluster of this scheduler."),
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check, crop, resample and normalise every labelled case into CACHE/NAME.

    Run again, it does only what is missing or changed. Z,Y,X is head-foot, front-back, left-right.
    --dry-run --write-plan FILE gives a plan to edit and to pass back with --plan FILE.

    Example: mednext preprocess raw/ --dataset kits19
    """
    from mednext_cli.preprocessing.plan_file import write_plan as write
    from mednext_cli.preprocessing.run import PreprocessSpec
    from mednext_cli.preprocessing.run import preprocess as run

    spec = PreprocessSpec(
        raw=raw,
        layout=dataset,
        options=layout_options(modality, structures, region_training, labels),
        cache=cache,
        spacing_mm=_spacing(spacing, plan),
        workers=workers,
        stored_type=dtype,
        force=force,
        dry_run=dry_run,
        plan=plan,
        scheduler=scheduler,
        resample_labels=resample_labels,
    )
    result = run(spec)
    if write_plan is not None:
        write(write_plan, result.plan)
    report_table(("what", "value"), _rows(result))
    if not dry_run:
        where = "" if cache == Path("mednext_cache") else f" --cache {cache}"
        logger.info("next: mednext train %s%s", result.folder.name, where)
    result.raise_failed()


def _spacing(text: str | None, plan: Path | None) -> tuple[float, float, float] | None:
    from mednext_cli.foundation.errors import SettingsError
    from mednext_cli.settings.spacing import parse_spacing

    if plan is not None and text is not None:
        raise SettingsError("--plan and --spacing both say the spacing", "Give one of them.")
    return parse_spacing(text or "1.0")


def _rows(result: "PreprocessResult") -> list[tuple[str, str]]:
    plan = result.plan
    return [
        ("cache", str(result.folder)),
        ("cases made", str(result.made)),
        ("cases kept", str(result.kept)),
        ("spacing (mm)", " x ".join(f"{length:g}" for length in plan.spacing_mm)),
        ("patch (voxels)", " x ".join(map(str, plan.patch_voxels))),
        ("batch", str(plan.batch_size)),
        ("mirror axes", ", ".join(plan.mirror_axes) or "none"),
        *(
            (f"channel {name}", _describe(normalisation))
            for name, normalisation in zip(plan.channels, plan.normalisation, strict=True)
        ),
        ("labels", ", ".join(f"{value} {name}" for name, value in plan.label_set.names.items())),
        ("regions", ", ".join(plan.label_set.regions)),
    ]


def _describe(normalisation: object) -> str:
    values = dict(normalisation)  # type: ignore[call-overload]
    if values["scheme"] != "ct":
        return str(values["scheme"]) + (" of non-zero voxels" if values["use_nonzero_mask"] else "")
    return "ct: clip to {lower:.0f}..{upper:.0f}, mean {mean:.1f}, std {std:.1f}".format(**values)
