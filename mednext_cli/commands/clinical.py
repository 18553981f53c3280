"""`mednext scale-report --clinical`: its options, and what it prints."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mednext_cli.commands.tables import report, report_table
from mednext_cli.foundation.errors import SettingsError

if TYPE_CHECKING:
    from mednext_cli.deployment.sheet import ClinicalSheetResult
    from mednext_cli.deployment.specification import ClinicalSheetSpec

Clinical = Annotated[
    bool,
    typer.Option(
        "--clinical", help="Instead: time and memory of whole predictions, stage by stage."
    ),
]
Model = Annotated[
    list[Path] | None,
    typer.Option(
        show_default="untrained networks, which cost the same",
        help="--clinical: a trained one, as mednext predict takes it; repeated, all are averaged.",
    ),
]
Scan = Annotated[
    Path | None,
    typer.Option(show_default="made-up scans", help="--clinical: a scan of your own."),
]
Volumes = Annotated[
    str | None,
    typer.Option(
        metavar="ct,mr",
        show_default="both; of --model the one that fits",
        help="--clinical: made-up CT of 512 x 512 x 300, MR of 240 x 240 x 155 voxels.",
    ),
]
TargetSpacing = Annotated[
    str | None,
    typer.Option(
        metavar="MM|Z,Y,X",
        show_default="1.0",
        help="--clinical: what scans are resampled to for untrained networks.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(show_default="3", help="--clinical: of untrained networks, with the background."),
]
Engines = Annotated[
    str | None,
    typer.Option(metavar="torch,openvino", show_default="torch", help="--clinical: what computes."),
]
Precisions = Annotated[
    str | None,
    typer.Option(
        metavar="float32,bfloat16",
        show_default="auto: what mednext predict takes",
        help="--clinical: number formats of the network.",
    ),
]
Threads = Annotated[
    str | None,
    typer.Option(
        metavar="1,2,4", show_default="all cores", help="--clinical: cores of a prediction."
    ),
]
Overlap = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=0.95, show_default="the recipe's, or 0.5", help="--clinical: of tiles."
    ),
]
Mirror = Annotated[
    bool | None,
    typer.Option(
        "--mirror/--no-mirror",
        show_default="the recipe's, or none",
        help="--clinical: average mirrored.",
    ),
]
Repeats = Annotated[
    int | None,
    typer.Option(show_default="5", help="--clinical: predictions after the first of a process."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="--clinical: only say what would be measured, and how long."),
]


@dataclass(frozen=True)
class ClinicalOptions:
    """The options that only --clinical has, as they were given; None or empty where not."""

    model: list[Path] | None = None
    scan: Path | None = None
    volumes: str | None = None
    spacing: str | None = None
    classes: int | None = None
    engines: str | None = None
    precisions: str | None = None
    threads: str | None = None
    overlap: float | None = None
    mirror: bool | None = None
    repeats: int | None = None
    dry_run: bool = False

    def check_unused(self) -> None:
        """Refuse them without --clinical, which alone would heed them."""
        for field in fields(self):
            if getattr(self, field.name) not in (None, [], False):
                option = field.name.replace("_", "-")
                raise SettingsError(f"--{option} is for --clinical", "Add --clinical.")


def run_clinical(
    options: ClinicalOptions,
    models: str | None,
    kernels: str | None,
    patch: str | None,
    device: str,
    out: Path,
) -> None:
    """Measure, or say what would be measured.

    Args:
        options: of --clinical alone.
        models: sizes of untrained networks, as given.
        kernels: of them.
        patch: of them.
        device: as given.
        out: folder for the sheet.
    """
    from mednext_cli.deployment.estimate import plan_clinical_sheet
    from mednext_cli.deployment.sheet import clinical_sheet
    from mednext_cli.deployment.specification import ClinicalSheetSpec

    given = {**_shared(options), **_of_untrained(options, models, kernels, patch)}
    spec = ClinicalSheetSpec(device=device, out=out, **given)
    if options.dry_run:
        _print_plan(spec, plan_clinical_sheet(spec).configurations)
    else:
        _print_sheet(clinical_sheet(spec))


def _shared(options: ClinicalOptions) -> dict[str, Any]:
    """What was given of all but untrained networks, as the specification takes it."""
    from mednext_cli.scaling.specification import parse_list, parse_whole_numbers

    given: dict[str, Any] = {
        "models": tuple(options.model or ()),
        "scan": options.scan,
        "overlap": options.overlap,
        "mirror": options.mirror,
    }
    for name in ("volumes", "engines", "precisions"):
        if (text := getattr(options, name)) is not None:
            given[name] = parse_list(text)
    if options.threads is not None:
        given["threads"] = parse_whole_numbers(options.threads, "--threads")
    if options.repeats is not None:
        given["repeats"] = options.repeats
    return given


def _of_untrained(
    options: ClinicalOptions, models: str | None, kernels: str | None, patch: str | None
) -> dict[str, Any]:
    """What was given of untrained networks; refused beside a trained one."""
    from mednext_cli.scaling.specification import parse_list, parse_patch, parse_whole_numbers
    from mednext_cli.settings.spacing import parse_spacing

    given = {
        "sizes": None if models is None else parse_list(models),
        "kernels": None if kernels is None else parse_whole_numbers(kernels, "--kernels"),
        "patch_voxels": None if patch is None else parse_patch(patch),
        "spacing_mm": None if options.spacing is None else parse_spacing(options.spacing),
        "classes": options.classes,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if options.model and given:
        raise SettingsError(
            "--model is a trained network, with a size, patch, spacing and classes of its own",
            "Leave --models, --kernels, --patch, --spacing and --classes out.",
        )
    return given


def _print_plan(spec: "ClinicalSheetSpec", lines: Any) -> None:  # noqa: ANN401 - heavy to import
    from mednext_cli.foundation.progress import format_seconds

    rows = [(one.name, one.tiles, one.seconds, one.total_seconds / 60, one.note) for one in lines]
    report_table(("configuration", "tiles", "a prediction, s", "all, min", "note"), rows)
    total = format_seconds(sum(one.total_seconds for one in lines))
    runs = f"{spec.repeats} after the first"
    report(f"{len(rows)} configurations, predictions {runs}: about {total} if nothing else runs")


def _print_sheet(result: "ClinicalSheetResult") -> None:
    from mednext_cli.deployment.doubts import problem_of
    from mednext_cli.deployment.measurement import Measurement
    from mednext_cli.deployment.summary import WHOLE, summarise

    rows = []
    for one, found in result.measured:
        whole = summarise(found)[WHOLE] if isinstance(found, Measurement) else None
        figures = (
            (whole.median_seconds, whole.cold_seconds, whole.peak_gib) if whole else (None,) * 3
        )
        rows.append((one.name, *figures, problem_of(one, found)))
    report_table(("configuration", "warm, s", "cold, s", "peak, GiB", "problem"), rows)
    report(f"{result.table}, {result.page}")
