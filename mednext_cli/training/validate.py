"""The final validation: the fold's cases predicted whole, on their own grids, and scored."""

import logging
import shutil
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.foundation.progress import track
from mednext_cli.inference.sliding import predict_probabilities
from mednext_cli.preprocessing.apply import SourceGeometry
from mednext_cli.preprocessing.restore import restore_label_map
from mednext_cli.training.loop import LoopSpec
from mednext_cli.training.state import TrainingState
from mednext_cli.volumes.scans import write_label_map

_VOXELS_AT_ONCE = 2**21  # of a batch of tiles on a GPU; on the CPU one tile is fastest
logger = logging.getLogger(__name__)


def validate_fold(state: TrainingState, loop: LoopSpec, cached: CachedDataset) -> dict[str, float]:
    """Predict and score the validation cases with the final weights; done cases are kept.

    Returns:
        Mean Dice by region, over the cases.
    """
    folder = loop.folder.validation
    _begin(folder, state)
    todo = [name for name in loop.split.validation if not _path(folder, name).is_file()]
    state.network.eval()
    with track("validating", len(todo)) as bar:
        for case_id in todo:
            _predict_case(state, loop, cached, case_id)
            bar.advance(note=case_id)
    labels = {name: Path(cached.case(name).label_path or "") for name in loop.split.validation}
    # Label maps that preprocessing resampled still lie on their own grid.
    spec = EvaluateSpec(
        predictions=folder, labels=labels, label_set=state.plan.label_set, resample=True
    )
    result = evaluate(spec)
    result.raise_failed()
    return {region: result.mean("dice", region) for region in result.regions}


def _path(folder: Path, case_id: str) -> Path:
    return folder / f"{case_id}.nii.gz"


def _begin(folder: Path, state: TrainingState) -> None:
    """Keep the folder if it was made by the same weights in the same way, else empty it."""
    made_by = {
        "iteration": state.progress.iteration,
        "inference": state.recipe.inference.model_dump(mode="json"),
    }
    note = folder / "made_by.json"
    try:
        same = read_json(note) == made_by
    except DatasetError:
        same = False
    if not same and folder.exists():
        shutil.rmtree(folder)
    write_json(note, made_by)


def _predict_case(
    state: TrainingState, loop: LoopSpec, cached: CachedDataset, case_id: str
) -> None:
    case, inference = cached.case(case_id), state.recipe.inference
    probabilities = predict_probabilities(
        lambda images: _call(state, loop.device, images),
        case.read_image(),
        loop.patch_voxels,
        state.recipe.augmentation.mirrored if inference.mirror else (),
        inference.overlap,
        1 if loop.device.type == "cpu" else max(1, _VOXELS_AT_ONCE // prod(loop.patch_voxels)),
    )
    geometry = SourceGeometry.from_json(case.geometry)
    labels = restore_label_map(probabilities, geometry, state.plan)
    write_label_map(_path(loop.folder.validation, case_id), labels, Path(case.image_paths[0]))


@torch.inference_mode()
def _call(
    state: TrainingState, device: torch.device, images: NDArray[np.float32]
) -> NDArray[np.float32]:
    batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last_3d)
    with state.precision.autocast():
        logits = state.network(batch).float()
    probabilities = logits.sigmoid() if state.plan.region_training else logits.softmax(1)
    found: NDArray[np.float32] = probabilities.cpu().numpy()
    return found
