"""`mednext predict`: label maps for new scans."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mednext_cli.commands.options import (
    Device,
    Modality,
    Operators,
    OutputFolder,
    PredictionPrecision,
    Quiet,
    Verbose,
    Workers,
    layout_options,
)
from mednext_cli.commands.tables import report
from mednext_cli.foundation.imports import importing


def predict(
    images: Annotated[
        Path, typer.Argument(help="A scan, a folder or .zip of scans, or a raw dataset.")
    ],
    model: Annotated[
        list[Path],
        typer.Option(
            help="Checkpoint, run folder, folder of folds, or a name of mednext models ls; all are "
            "averaged. Repeat it for more."
        ),
    ],
    out: OutputFolder = Path("predictions"),
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="0,2|all",
            show_default="all, which must be finished",
            help="Of a folder of folds, those to average.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="2,1",
            show_default="all alike",
            help="Of each --model in the average; folds share theirs.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Layout of IMAGES, if it is a raw dataset.")
    ] = None,
    modality: Modality = None,
    cases: Annotated[
        str | None,
        typer.Option(help="Only these: ids with commas between, or a file with an id a line."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="0/4|auto",
            show_default="all cases",
            help="Only every 4th case, from 0/4 to 3/4; auto: as a Slurm array's task.",
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto, torch, openvino, onnx or a plugin's.")
    ] = "auto",
    overlap: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.95, show_default="the recipe's", help="Of the tiles."),
    ] = None,
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", show_default="the recipe's", help="Average mirrored."),
    ] = None,
    mirror_axes: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS,...",
            show_default="as trained",
            help="Mirror along superior_inferior, anterior_posterior, left_right.",
        ),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option(help="Also write CASE_probabilities.h5 (float16).")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            show_default="all",
            help="Labels or regions that the label maps keep, like liver,spleen.",
        ),
    ] = None,
    statistics: Annotated[
        bool, typer.Option(help="Also write volumes.csv: volumes, intensities, extents.")
    ] = False,
    preview: Annotated[
        bool, typer.Option(help="Also write previews/CASE.png: three planes with outlines.")
    ] = False,
    split: Annotated[
        bool, typer.Option(help="Also write structures/CASE/NAME.nii.gz, a mask a structure.")
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            help="Also write uncertainty/CASE/entropy.nii.gz and, of several networks, "
            "disagreement.nii.gz."
        ),
    ] = False,
    report_page: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Also write report.html: every case's preview and volumes, odd ones first; with "
            "what --preview and --statistics write.",
        ),
    ] = False,
    dicom_seg: Annotated[
        bool,
        typer.Option(
            "--dicom-seg", help="Also write dicom/CASE.seg.dcm, a DICOM SEG of a DICOM series."
        ),
    ] = False,
    rtstruct: Annotated[
        bool,
        typer.Option(
            "--rtstruct", help="Also write dicom/CASE.rtstruct.dcm, contours as RT Structure Set."
        ),
    ] = False,
    uid_seed: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            show_default="of what they hold alone",
            help="Other UIDs of these for another text, the same for the same.",
        ),
    ] = None,
    postprocess: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default="the model's own",
            help="Post-processing of label maps, by mednext postprocess fit.",
        ),
    ] = None,
    no_postprocess: Annotated[
        bool, typer.Option("--no-postprocess", help="Leave label maps as the networks have them.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Predict done cases anew.")] = False,
    workers: Workers = None,
    device: Device = "auto",
    operators: Operators = None,
    precision: PredictionPrecision = "auto",
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write OUT/CASE.nii.gz for each case, on the scan's own grid; done cases are skipped.

    The same command, started several times at once, shares the cases of OUT.

    Example: mednext predict scans/ --model runs/kits19/S-k3/fold0 --out predictions/
    """
    from mednext_cli.foundation.parts import read_part
    from mednext_cli.inference.archives import Scratch
    from mednext_cli.inference.findings.structures import read_only
    from mednext_cli.inference.options import read_folds, read_member_weights, read_mirror_axes
    from mednext_cli.inference.settled import find_settled
    from mednext_cli.inference.sources import read_ids
    from mednext_cli.inference.specification import PredictSpec

    spec = PredictSpec(
        images=images,
        models=tuple(model),
        out=out,
        layout=dataset,
        options=layout_options(modality),
        cases=None if cases is None else read_ids(cases),
        engine=engine,
        overlap=overlap,
        mirror=mirror,
        probabilities=probabilities,
        workers=workers,
        device=device,
        force=force,
        operators=operators or "auto",
        precision=precision,
        folds=None if folds is None else read_folds(folds),
        only=None if only is None else read_only(only),
        statistics=statistics,
        preview=preview,
        split=split,
        uncertainty=uncertainty,
        report=report_page,
        dicom_seg=dicom_seg,
        rtstruct=rtstruct,
        uid_seed=uid_seed,
        mirror_axes=None if mirror_axes is None else read_mirror_axes(mirror_axes),
        weights=None if weights is None else read_member_weights(weights),
        part=None if part is None else read_part(part),
        postprocess=not no_postprocess,
        postprocessing=postprocess,
    )
    with Scratch() as scratch:
        spec = replace(spec, scratch=scratch)
        settled = find_settled(spec)
        if (result := settled.result) is None:
            with importing():
                from mednext_cli.inference.predict import predict_found

            result = predict_found(spec, settled.found)
    report(f"{result.folder}: {len(result.made)} made, {len(result.kept)} kept")
