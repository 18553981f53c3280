"""Where nearly nothing is annotated, patches are drawn from what is."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.preprocessing.foreground import sample_annotated
from mednext_cli.training.sampling import PatchDataset, SamplingSpec, describe_sampling
from mednext_cli.training.splits import Split

NAME = "Dataset002_Sparse"
SHAPE, IGNORE = (40, 44, 36), 2
ANNOTATED = (slice(20, 29), slice(30, 39), slice(8, 16))  # 1 % of a case
PATCH = (8, 8, 8)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases: of one a box is annotated, half of it an organ; of the other nothing."""
    folder = tmp_path_factory.mktemp("sparse")
    raw = folder / NAME
    random = np.random.default_rng(4)
    for name in ("imagesTr", "labelsTr"):
        (raw / name).mkdir(parents=True)
    for case in ("box", "nothing"):
        label = np.full(SHAPE, IGNORE, dtype=np.uint8)
        if case == "box":
            label[ANNOTATED] = 0
            label[20:29, 30:39, 8:12] = 1
        image = random.normal(3, 1, SHAPE).astype(np.float32)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        for array, path in (
            (label, f"labelsTr/{case}.nii.gz"),
            (image, f"imagesTr/{case}_0000.nii.gz"),
        ):
            nib.save(nib.Nifti1Image(array, affine), raw / path)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "organ": 1, "ignore": IGNORE},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    options = ["--dataset", "nnunet", "--cache", str(folder / "cache"), "--workers", "0"]
    assert main(["preprocess", str(raw), *options]) == 0
    return folder / "cache" / NAME


def _spec(cache: Path, case: str, training: bool = True, in_memory: bool = False) -> SamplingSpec:
    plan = open_cache(cache).plan.model_copy(update={"patch_voxels": PATCH, "batch_size": 3})
    recipe = load_recipe("cpu", ["training.oversample_foreground=0.33"])
    split = Split((case,), (case,))
    spec = describe_sampling(recipe, plan, cache, split, training, in_memory)
    return replace(spec, augmentation=None)


def _labels(spec: SamplingSpec, numbers: range) -> np.ndarray:
    return PatchDataset(spec).batch(numbers)[1].numpy()


@pytest.mark.parametrize("training", [True, False])
def test_every_patch_holds_annotated_voxels(cache: Path, training: bool) -> None:
    spec = _spec(cache, "box", training)
    label = open_cache(cache).case("box").read_label()
    assert 0.005 < np.mean(label != IGNORE) < 0.015
    patches = _labels(spec, range(60))
    assert (patches != IGNORE).any(axis=(1, 2, 3)).all()
    # As it would be without: this is no other way of saying that the box is everywhere.
    anywhere = _labels(replace(spec, ignore=None), range(0, 60, 3))
    assert (anywhere != IGNORE).any(axis=(1, 2, 3)).mean() < 0.5


def test_centres_are_uniform_over_what_is_annotated_background_too(cache: Path) -> None:
    """The last of three is centred on the organ; the others on any voxel of the box."""
    centres = _labels(_spec(cache, "box"), range(300))[:, 4, 4, 4].reshape(-1, 3)
    assert (centres[:, 2] == 1).all()
    assert set(centres[:, :2].ravel()) == {0, 1}
    assert np.mean(centres[:, :2] == 1) == pytest.approx(0.5, abs=0.12)


def test_it_is_the_same_from_memory(cache: Path) -> None:
    read, kept = (_labels(_spec(cache, "box", in_memory=kept), range(9)) for kept in (False, True))
    np.testing.assert_array_equal(read, kept)


def test_a_case_without_any_gives_patches_anywhere(cache: Path) -> None:
    assert (_labels(_spec(cache, "nothing"), range(6)) == IGNORE).all()


def test_voxels_are_as_many_as_of_a_class_and_all_of_few() -> None:
    label = np.full((30, 30, 30), 5, dtype=np.uint8)
    label[3, 4, 5:8] = 0
    assert sorted(sample_annotated(label, 5).tolist()) == [[3, 4, 5], [3, 4, 6], [3, 4, 7]]
    assert sample_annotated(np.full((4, 4, 4), 5, dtype=np.uint8), 5).shape == (0, 3)
    many = sample_annotated(np.zeros((30, 30, 30), dtype=np.uint8), 5)
    assert len(np.unique(many, axis=0)) == len(many) == 10_000
