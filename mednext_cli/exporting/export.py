"""Write trained networks in another format, one file a checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path

from mednext_cli.cache.reader import open_cache
from mednext_cli.exporting import (
    monai_bundle,
    nnunet,
    onnx,
    openvino,
    openvino_int8,
    safetensors,
    torchscript,
)
from mednext_cli.exporting.specification import (
    Exported,
    ExportPrecision,
    ExportResult,
    ExportSpec,
    Format,
)
from mednext_cli.foundation.errors import SettingsError, check_choice
from mednext_cli.foundation.files import check_writable
from mednext_cli.foundation.progress import track
from mednext_cli.inference.catalogue.names import is_model_name, resolve_model
from mednext_cli.inference.int8_networks import SUFFIX as INT8_SUFFIX
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
        SettingsError: no such format, or the network cannot be written in it, or not in int8.
        CacheError: the cases for int8 are missing or damaged.
        StorageError: the disk refuses.
    """
    check_choice("--to", spec.to, Format)
    suffix, write = _WRITERS[spec.to]
    calibrate = _check_precision(spec)
    if calibrate is not None:
        suffix = INT8_SUFFIX
    models = load_models([resolve_model(spec.model, "RUN")])
    # A name's own folder is that of a package, or of the user's models: nothing is written there.
    out = (
        Path(f"{spec.model}_export") if spec.out is None and is_model_name(spec.model) else spec.out
    )
    paths = [_path(model, out, suffix, len(models) > 1) for model in models]
    for folder in {path.parent for path in paths}:
        check_writable(folder)
    if calibrate is not None:
        return ExportResult(openvino_int8.write_all(models, paths, open_cache(calibrate)))
    files = []
    with track(f"exporting to {spec.to}", len(models), unit="checkpoints") as progress:
        for model, path in zip(models, paths, strict=True):
            files.append(Exported(path, write(model, path)))
            progress.advance()
    return ExportResult(tuple(files))


def _check_precision(spec: ExportSpec) -> Path | None:
    """The cached dataset that int8 needs; None for float32."""
    check_choice("--precision", spec.precision, ExportPrecision)
    if spec.precision == "float32":
        if spec.calibrate is not None:
            raise SettingsError("--calibrate is for int8", "Add --precision int8, or drop it.")
        return None
    if spec.to != "openvino":
        raise SettingsError(f"--precision int8 is not for --to {spec.to}", "Use --to openvino.")
    if spec.calibrate is None:
        raise SettingsError(
            "--precision int8 needs cases to fit it to and to measure it on",
            "Add --calibrate CACHE/NAME, the cached dataset that the run was trained on.",
        )
    return spec.calibrate


def _path(model: Model, out: Path | None, suffix: str, several: bool) -> Path:
    """Of the file: named like the checkpoint, of several in a folder named like their folds."""
    run, name = model.path.parent, f"{model.path.stem}{suffix}"
    if out is None:
        return run / _BESIDE / name
    return out / run.name / name if several else out / name
