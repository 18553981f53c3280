"""Published weights as checkpoints of ours, and back."""

from pathlib import Path
from typing import cast

from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError, SettingsError, check_choice
from mednext_cli.foundation.names import LONGEST, shown
from mednext_cli.networks.building import check_dense
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.mednext.official import from_official, infer_network, to_official
from mednext_cli.networks.mednext.settings import MedNeXtSettings, Norm
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.networks.weight_files import read_weights, write_weights


def import_official(
    path: Path,
    size: str | None = None,
    kernel: int | None = None,
    norm: Norm = "group",
    residual: bool | None = None,
) -> Checkpoint:
    """A checkpoint of ours from a file of published weights.

    Args:
        path: the file; see `read_weights`.
        size: S, B, M or L, refused unless the weights are of it; None takes what they are.
        kernel: likewise.
        norm: see `infer_network`.
        residual: see `infer_network`.

    Raises:
        CheckpointError: not weights of the published MedNeXt, or of another size or kernel.
        SettingsError: there is no such size.
    """
    if size is not None and size not in VARIANTS:
        raise SettingsError(f"unknown size {size}", f"Known: {', '.join(VARIANTS)}")
    weights = read_weights(path)
    try:
        check_dense(weights)
        network = infer_network(weights, norm, residual)
        state_dict = from_official(network, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error.message}", error.remedy) from error
    found = cast("MedNeXtSettings", network.settings)
    if size not in (None, found.size):
        raise CheckpointError(f"{path} is of size {found.size}, not {size}", "Leave out --size.")
    if kernel is not None and found.kernels != (kernel, kernel):
        kernels = " and ".join(str(one) for one in sorted(set(found.kernels)))
        raise CheckpointError(f"{path} has kernel {kernels}, not {kernel}", "Leave out --kernel.")
    return Checkpoint(
        network, state_dict, metadata={"imported_from": shown(path.name, LONGEST)[1:-1]}
    )


def import_file(
    path: Path,
    out: Path,
    size: str | None = None,
    kernel: int | None = None,
    norm: Norm = "group",
    residual: bool | None = None,
) -> Checkpoint:
    """Write what `import_official` makes of `path` as a checkpoint.

    Raises:
        CheckpointError: see `import_official`.
        SettingsError: there is no such size or norm.
        StorageError: the disk is full, read-only or forbidden.
    """
    check_choice("--norm", norm, Norm)
    checkpoint = import_official(path, size, kernel, norm, residual)
    save_checkpoint(out, checkpoint)
    return checkpoint


def export_official(path: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Write a checkpoint's weights under the published names, in the format of the suffix.

    Returns:
        What was written.

    Raises:
        SettingsError: the suffix is none of .safetensors, .pt, .pth and .npz.
        CheckpointError: the published code has no such network.
        StorageError: the disk is full, read-only or forbidden.
    """
    weights = to_official(checkpoint.network, checkpoint.state_dict)
    write_weights(path, weights)
    return weights
