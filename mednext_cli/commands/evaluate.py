"""`mednext evaluate`: predictions against references, per case and region."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from mednext_cli.commands.options import Quiet, Verbose, Workers
from mednext_cli.commands.tables import report, report_table
from mednext_cli.evaluation.choices import (
    EmptyPolicyName,
    Hd95Definition,
    LesionMatching,
    MissingCase,
    Protocol,
)

if TYPE_CHECKING:
    from mednext_cli.evaluation.evaluate import EvaluateResult
    from mednext_cli.settings.labels import LabelSet

_SHOWN = ("dice", "iou", "surface_dice", "mean_surface_distance_mm", "hd95_mm")
_SHOWN_OF_LESIONS = ("lesion_f1", "lesion_dice")


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDS", help="Folder of label maps, or one label map.")
    ],
    labels: Annotated[
        Path,
        typer.Argument(
            metavar="LABELS", help="The same for the references, or a raw dataset's folder."
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Layout that names labels and regions; see mednext datasets ls.",
            show_default="a dataset.json in or beside LABELS, else label_1, label_2, ...",
        ),
    ] = None,
    label_names: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="NAME=VALUE,...",
            help="What the values mean, where no dataset.json says so: liver=1,tumour=2; "
            "whole=1+2 is a region, ignore=3 is not scored.",
        ),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="The same, out of a plan that mednext preprocess --write-plan wrote."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MM|REGION=MM",
            help="Of the surface Dice, for all regions or for one; can be given again.",
            show_default="the dataset's, else 1 mm",
        ),
    ] = None,
    empty_policy: Annotated[
        EmptyPolicyName | None,
        typer.Option(
            metavar="NAME",
            help=f"Whose scores of empty masks: {', '.join(get_args(EmptyPolicyName))}.",
            show_default="that of --dataset, else nnunet",
        ),
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option(
            help="mednext: labels apart, surface Dice at one voxel without spacing, as its paper; "
            "with --empty-policy kits23 its rows 'nan is 1'."
        ),
    ] = None,
    hd95: Annotated[
        Hd95Definition,
        typer.Option(help="Definition; medpy pools both directions."),
    ] = "surface_distance",
    lesions: Annotated[
        LesionMatching | None,
        typer.Option(
            help="Score connected components, which match at an IoU of 0.1 or at any overlap."
        ),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            metavar="FROM:TO",
            help="Layouts of PREDS and of LABELS, whose labels match by name, or a .toml file.",
        ),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="PREDS are of a network trained on another dataset: score what both name, ignore "
            "the rest of LABELS; btcv_to_amos22 comes with mednext.",
        ),
    ] = None,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample", help="Bring PREDS on other grids onto that of LABELS (nearest)."
        ),
    ] = False,
    summary_json: Annotated[
        bool, typer.Option("--summary-json", help="Also write nnU-Net's summary.json.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Scans that the report draws its worst cases over; the raw folder will do.",
            show_default="over the labels",
        ),
    ] = None,
    missing: Annotated[
        MissingCase,
        typer.Option(help="A case without a prediction: worst scores it so, drop leaves it out."),
    ] = "worst",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for the results.", show_default="the folder of PREDS"
        ),
    ] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Score predictions: overlaps, surface Dice and surface distances, in mm.

    Writes cases.csv (a row per case and region), summary.csv (means, spread, intervals) and
    report.html. Label maps are matched by name.

    Example: mednext evaluate predictions/ labels/ --dataset kits19 --out scores
    """
    from mednext_cli.evaluation.evaluate import EvaluateSpec
    from mednext_cli.evaluation.evaluate import evaluate as run
    from mednext_cli.evaluation.scoring.tolerances import read_tolerances

    tolerance_mm, region_tolerances_mm = read_tolerances(tolerance or ())
    label_set, label_source = _given_labels(label_names, plan)
    result = run(
        EvaluateSpec(
            predictions=predictions,
            labels=labels,
            out=out,
            dataset=dataset,
            label_set=label_set,
            label_source=label_source,
            tolerance_mm=tolerance_mm,
            region_tolerances_mm=region_tolerances_mm,
            empty_policy=empty_policy,
            missing=missing,
            workers=workers,
            protocol=protocol,
            hd95=hd95,
            lesions=lesions,
            mapping=mapping,
            label_map=label_map,
            resample=resample,
            summary_json=summary_json,
            images=images,
        )
    )
    _report_means(result, (*_SHOWN, *(_SHOWN_OF_LESIONS if lesions else ())))
    written = ", summary.json" if summary_json else ""
    report(f"{result.folder}: cases.csv, summary.csv, report.html{written}")
    result.raise_failed()


def _report_means(result: "EvaluateResult", metrics: tuple[str, ...]) -> None:
    regions = (*result.regions, "overall")
    rows = [(name, *(result.mean(metric, name) for metric in metrics)) for name in regions]
    report_table(("region", *metrics), rows, title="means over cases")


def _given_labels(names: str | None, plan: Path | None) -> tuple["LabelSet | None", str]:
    """What the options say the values mean, and which option; raises `SettingsError` for both."""
    from mednext_cli.datasets.described_labels import read_listed_labels
    from mednext_cli.foundation.errors import SettingsError
    from mednext_cli.preprocessing.plan_file import read_plan_labels

    if names is not None and plan is not None:
        raise SettingsError("--labels and --plan both name the labels", "Drop one of them.")
    if names is not None:
        return read_listed_labels(names), "--labels"
    return (read_plan_labels(plan), str(plan)) if plan is not None else (None, "")
