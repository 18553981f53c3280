"""What an export is asked for, and what comes of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Format = Literal["safetensors", "onnx", "openvino", "torchscript", "monai-bundle", "nnunet"]

ExportPrecision = Literal["float32", "int8"]


@dataclass(frozen=True)
class ExportSpec:
    """What `mednext export` is asked to do.

    Attributes:
        model: a checkpoint, run folder, folder of folds or name, as `predict` takes it; a file is
            written for each checkpoint.
        to: the format.
        out: folder for the files; None for ``export`` beside each checkpoint, of a model by name
            for ``NAME_export`` in the working folder.
        precision: of the network in the file; int8 for OpenVINO only.
        calibrate: folder of the cached dataset that the run was trained on, for int8.
    """

    model: Path
    to: Format
    out: Path | None = None
    precision: ExportPrecision = "float32"
    calibrate: Path | None = None


@dataclass(frozen=True)
class Exported:
    """A file, and how it was compared with PyTorch before it was kept.

    Attributes:
        path: the file, or the folder of a bundle.
        checked: what was compared and found, in a few words.
    """

    path: Path
    checked: str


@dataclass(frozen=True)
class ExportResult:
    """The files, one for each checkpoint, in the order of the folds."""

    files: tuple[Exported, ...]
