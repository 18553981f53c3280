"""What `mednext predict` is asked to do, and what comes of it."""

from dataclasses import dataclass
from pathlib import Path

from mednext_cli.datasets.dataset import Case
from mednext_cli.datasets.options import LayoutOptions
from mednext_cli.foundation.parts import Part
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.options import Folds
from mednext_cli.settings.mirror_axes import Axis
from mednext_cli.settings.sections import Operators, PredictionPrecision


@dataclass(frozen=True)
class PredictResult:
    """Where the label maps are, which were made now, and which were there or made by others."""

    folder: Path
    made: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class PredictSpec:
    """What `mednext predict` is asked to do.

    Attributes:
        images: see `sources.find_cases`; or the cases themselves.
        models: checkpoints, run folders, folders of folds, or names (`mednext models ls`); several
            are averaged.
        out: folder of the label maps.
        layout: of a raw dataset; None finds out.
        cases: ids of the cases to predict; None takes all.
        engine: auto, torch, openvino, onnx or a plugin's.
        overlap: None takes the recipe's.
        mirror: None takes the recipe's.
        probabilities: also write ``CASE_probabilities.h5``.
        workers: threads that prepare, and as many that write, beside the network; 0 for none,
            None chooses.
        device: auto, cpu, cuda, cuda:N or mps.
        force: predict cases anew that are done.
        operators: auto, fused or stock operators, of the engine torch.
        precision: auto, float32, bfloat16, float16 or int8; auto as in training on a GPU, else
            float32; int8 of the engine openvino, with what `mednext export` left beside the model.
        options: of the raw dataset's layout; None for none.
        scratch: where zip archives of scans are unpacked; None leaves them unread.
        folds: of folders of folds, those to average; None takes all, which must be finished.
        only: labels or regions that label maps hold, see `structures.choose_structures`; None
            keeps all.
        statistics: also write ``volumes.csv``.
        preview: also write ``previews/CASE.png``.
        split: also write ``structures/CASE/NAME.nii.gz``, a mask a structure.
        uncertainty: also write ``uncertainty/CASE/entropy.nii.gz``, and ``disagreement.nii.gz``
            where several networks are averaged.
        postprocess: whether label maps are post-processed as is stored with the models.
        postprocessing: of which file, instead; None takes the models' own, where they have one.
        mirror_axes: to mirror along; None takes those that each was trained with.
        weights: one of `models` each, see `load_models`.
        part: of the cases, sorted by id; None takes all.
        report: also write ``report.html`` of all cases in the folder, and what it shows of the
            cases given here: as `statistics` and `preview`.
        dicom_seg: also write ``dicom/CASE.seg.dcm``; every case has to be a DICOM series.
        rtstruct: also write ``dicom/CASE.rtstruct.dcm``, likewise.
        uid_seed: other UIDs of these for another text; None takes those of what they hold alone.
    """

    images: Path | tuple[Case, ...]
    models: tuple[Path, ...]
    out: Path
    layout: str | None = None
    cases: tuple[str, ...] | None = None
    engine: str = "auto"
    overlap: float | None = None
    mirror: bool | None = None
    probabilities: bool = False
    workers: int | None = None
    device: str = "auto"
    force: bool = False
    operators: Operators = "auto"
    precision: PredictionPrecision = "auto"
    options: LayoutOptions | None = None
    scratch: Scratch | None = None
    folds: Folds | None = None
    only: tuple[str, ...] | None = None
    statistics: bool = False
    preview: bool = False
    split: bool = False
    uncertainty: bool = False
    postprocess: bool = True
    postprocessing: Path | None = None
    mirror_axes: tuple[Axis, ...] | None = None
    weights: tuple[float, ...] | None = None
    part: Part | None = None
    report: bool = False
    dicom_seg: bool = False
    rtstruct: bool = False
    uid_seed: str | None = None
