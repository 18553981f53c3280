"""`mednext evaluate`: predictions against references, per case and region."""

from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import Quiet, Verbose, Workers
from mednext_cli.commands.tables import print_table

_SHOWN = ("dice", "iou", "surface_dice", "mean_surface_distance_mm", "hd95_mm")


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
            show_default="a dataset.json at or beside LABELS, else label_1, label_2, ...",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="MM", help="Of the surface Dice.", show_default="the dataset's, else 1 mm"
        ),
    ] = None,
    empty_policy: Annotated[
        str,
        typer.Option(
            help="Scores of empty masks: nnunet, kits19, kits23, brats21 or totalsegmentator."
        ),
    ] = "nnunet",
    missing: Annotated[
        str,
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

    result = run(
        EvaluateSpec(
            predictions=predictions,
            labels=labels,
            out=out,
            dataset=dataset,
            tolerance_mm=tolerance,
            empty_policy=empty_policy,
            missing=missing,
            workers=workers,
        )
    )
    regions = (*result.regions, "overall")
    rows = [(name, *(result.mean(metric, name) for metric in _SHOWN)) for name in regions]
    print_table(("region", *_SHOWN), rows, title="means over cases")
    typer.echo(f"{result.folder}: cases.csv, summary.csv, report.html")
    result.raise_failed()
