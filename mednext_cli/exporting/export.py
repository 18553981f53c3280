"""Write trained networks in another format, one file a checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mednext_cli.exporting import monai_bundle, nnunet, onnx, openvino, safetensors, torchscript
from mednext_cli.exporting.specification import Exported, ExportResult, ExportSpec, Format
from mednext_cli.foundation.errors import check_choice
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.progress import track
from mednext_cli.inference.catalogue.names import is_model_name, resolve_model
from mednext_cli.inference.models import Model, load_models

_BESIDE = "export"
_WRITERS: Mapping[Format, tuple[str, Callable[[Model, Path], str]]] = {
    "safetensors": (safetensors.SUFFIX, safetensors.write),
    "onnx": (onnx.SUFFIX, onnx.write),
    "openvino": (openvino.SUFFIX, openvino.write),
    "torchscript": (torchscript.SUFFIX, torchscript.write),
    "monai-bundle": (monai_bundle.SUFFIX, monai_bundle.write),
    "nnunet": (nnunet.SUFFIX, nnunet.write),
}


def export(spec: ExportSpec) -> ExportResult:
    """Write a file for each checkpoint; one that is there is replaced once the new one is checked.

    Raises:
        CheckpointError: no usable checkpoint, one without a plan (imported weights), or no model of
            that name.
        PluginError: the package of the model does not load.
        SettingsError: no such format, or the network cannot be written in it.
        StorageError: the disk refuses.
    """
    check_choice("--to", spec.to, Format)
    suffix, write = _WRITERS[spec.to]
    models = load_models([resolve_model(spec.model, "RUN")])
    # A name's own folder is that of a package, or of the user's models: nothing is written there.
    out = (
        Path(f"{spec.model}_export") if spec.out is None and is_model_name(spec.model) else spec.out
    )
    paths = [_path(model, out, suffix, len(models) > 1) for model in models]
    for folder in {path.parent for path in paths}:
        check_writable(folder)
    files = []
    with track(f"exporting to {spec.to}", len(models), unit="checkpoints") as progress:
        for model, path in zip(models, paths, strict=True):
            files.append(Exported(path, write(model, path)))
            progress.advance()
    return ExportResult(tuple(files))


def _path(model: Model, out: Path | None, suffix: str, several: bool) -> Path:
    """Of the file: named like the checkpoint, of several in a folder named like their folds."""
    run, name = model.path.parent, f"{model.path.stem}{suffix}"
    if out is None:
        return run / _BESIDE / name
    return out / run.name / name if several else out / name
