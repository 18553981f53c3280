"""A small task: its plan, untrained networks for it, and the command that predicts with them."""

from pathlib import Path

import h5py
import numpy as np
import torch

from mednext_cli.app import main
from mednext_cli.inference.average import Advance, NetworkAverage, Single
from mednext_cli.inference.sliding import gather
from mednext_cli.networks.checkpoint import Checkpoint, build_plain, save_checkpoint
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.settings.progress import Progress
from mednext_cli.settings.recipe import AugmentationSettings, InferenceSettings, Recipe
from mednext_cli.settings.training import TrainingSettings
from tests.networks.made import mednext

PLAN = Plan(
    dataset="test",
    layout="kits19",
    spacing_mm=(2.0, 2.0, 2.0),
    patch_voxels=(16, 32, 16),
    batch_size=2,
    channels=("MRI",),
    normalisation=(ChannelNormalisation(scheme="z_score"),),
    label_set=LabelSet({"kidney": 1, "tumour": 4}, {"kidney": (1, 4), "tumour": (4,)}),
)
RECIPE = Recipe(
    training=TrainingSettings(epochs=1, folds=3),
    augmentation=AugmentationSettings(mirror_axes=("left_right",)),
    inference=InferenceSettings(mirror=False),
)
EPOCH = {"epoch": 1.0, "learning_rate": 1e-3, "training_loss": 0.5, "dice_mean": 0.5}


def save_model(
    path: Path,
    seed: int,
    plan: Plan = PLAN,
    channels: int = 1,
    finished: bool = False,
    recipe: Recipe = RECIPE,
) -> Path:
    torch.manual_seed(seed)
    made = mednext("S", 3, channels, plan.output_channels, base_channels=4)
    weights = build_plain(made).state_dict()
    progress = Progress(history=(EPOCH,) * finished)
    save_checkpoint(path, Checkpoint(made, weights, plan=plan, recipe=recipe, progress=progress))
    return path


def predict(images: Path, out: Path, *models: Path, options: tuple[str, ...] = ()) -> int:
    named = [part for path in models for part in ("--model", str(path))]
    always = ["--device", "cpu", "--engine", "torch"]
    return main(["predict", str(images), *named, "--out", str(out), *always, *options])


def probabilities(folder: Path, case: str) -> np.ndarray:
    """(K, X, Y, Z), as anybody reads them."""
    with h5py.File(folder / f"{case}_probabilities.h5") as file:
        return np.asarray(file["probabilities"])


def predict_whole(
    networks: NetworkAverage,
    image: np.ndarray,
    advance: Advance | None = None,
    single: Single | None = None,
) -> np.ndarray:
    """Probabilities (K, D, H, W) of a prepared image (C, D, H, W), of all its blocks."""
    depth, height, width = image.shape[1:]
    return gather(networks.predict(image, "a", advance, single), (depth, height, width))
