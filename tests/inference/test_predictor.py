"""The predictor of the Python API gives, scan by scan, what the command writes."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mednext_cli import Predictor
from mednext_cli.datasets.phantom.write import PhantomSpec, phantom
from mednext_cli.foundation.errors import DatasetError, MednextError, ScanError, SettingsError
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation
from tests.inference.synthetic import PLAN, predict, save_model
from tests.inference.synthetic import probabilities as probabilities_of

Array = np.ndarray[Any, Any]


def written(path: Path) -> tuple[Array, Array]:
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def check(predictor: Predictor, scan: Path, out: Path, case: str) -> None:
    """The predictor against the files of the command, voxel for voxel."""
    labels, affine = written(out / f"{case}.nii.gz")
    probabilities = probabilities_of(out, case)
    image = nib.load(scan)
    voxels = image.get_fdata()
    before = voxels.copy()
    for found in (
        predictor(scan, probabilities=True),
        predictor(voxels, image.affine, probabilities=True),
    ):
        np.testing.assert_array_equal(found.labels, labels)
        assert found.labels.dtype == labels.dtype
        np.testing.assert_allclose(found.affine, affine, atol=1e-4)
        np.testing.assert_array_equal(found.probabilities, probabilities)
    np.testing.assert_array_equal(voxels, before)
    assert np.ptp(probabilities) > 0


def test_as_the_command_on_awkward_grids(model: Path, scans: Path, tmp_path: Path) -> None:
    assert predict(scans, tmp_path / "out", model, options=("--probabilities",)) == 0
    predictor = Predictor(model, device="cpu")
    for case in ("oblique", "swapped", "anisotropic"):
        check(predictor, scans / f"{case}.nii.gz", tmp_path / "out", case)


def test_members_are_chosen_weighed_and_mirrored_as_the_command_does(
    scans: Path, tmp_path: Path
) -> None:
    for fold in range(3):
        folder = tmp_path / "S-k3" / f"fold{fold}"
        folder.mkdir(parents=True)
        save_model(folder / "checkpoint_last.pt", fold, finished=True)
    single, scan = save_model(tmp_path / "one.pt", 3), scans / "oblique.nii.gz"
    options = ("--folds", "0,2", "--weights", "3,0.5", "--mirror-axes", "superior_inferior")
    models = (tmp_path / "S-k3", single)
    command = (*options, "--probabilities")
    assert predict(scan, tmp_path / "out", *models, options=command) == 0
    given = {"folds": ("0", "2"), "weights": (3, 0.5), "mirror_axes": ("superior_inferior",)}
    check(Predictor(models, device="cpu", **given), scan, tmp_path / "out", "oblique")
    weighed = Predictor(models, device="cpu", **given)(scan, probabilities=True)
    for name in given:
        others = {key: value for key, value in given.items() if key != name}
        found = Predictor(models, device="cpu", **others)(scan, probabilities=True)
        assert (found.probabilities != weighed.probabilities).any(), name


@pytest.mark.slow
def test_as_the_command_on_the_phantom_with_two_networks(tmp_path: Path) -> None:
    phantom(PhantomSpec(tmp_path / "raw", cases=1, shape=(24, 64, 64), workers=0))
    plan = PLAN.model_copy(update={"spacing_mm": (8.0, 8.0, 8.0)})
    paths = [save_model(tmp_path / f"{seed}.pt", seed, plan) for seed in (0, 1)]
    options = ("--probabilities", "--overlap", "0", "--mirror")
    assert predict(tmp_path / "raw", tmp_path / "out", *paths, options=options) == 0
    predictor = Predictor([str(path) for path in paths], device="cpu", overlap=0, mirror=True)
    scan = tmp_path / "raw/case_00000/imaging.nii.gz"
    check(predictor, scan, tmp_path / "out", "case_00000")


def test_several_channels_and_regions(tmp_path: Path) -> None:
    """A folder of one file a channel, and (C, X, Y, Z); regions may overlap."""
    z_score = ChannelNormalisation(scheme="z_score")
    regions = {"whole": (1, 2), "core": (2,)}
    labels = LabelSet({"oedema": 1, "core": 2}, regions, region_training=True, region_values=(1, 2))
    changes = {"channels": ("T1", "T2"), "normalisation": (z_score, z_score), "label_set": labels}
    model = save_model(tmp_path / "two.pt", 0, PLAN.model_copy(update=changes), channels=2)
    affine = np.diag([2.0, -2.0, 3.0, 1.0])
    stack = np.random.default_rng(0).normal(50, 9, (2, 18, 33, 14)).astype(np.float32)
    (tmp_path / "case").mkdir()
    for number, array in enumerate(stack):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / f"case/a_{number:04}.nii.gz")
    predictor = Predictor(model, device="cpu")
    by_path = predictor(tmp_path / "case", probabilities=True)
    by_array = predictor(stack, affine, probabilities=True)
    np.testing.assert_array_equal(by_array.labels, by_path.labels)
    np.testing.assert_array_equal(by_array.probabilities, by_path.probabilities)
    assert by_array.labels.shape == (18, 33, 14)
    assert by_array.probabilities is not None
    assert by_array.probabilities.shape == (2, 18, 33, 14)
    assert predictor(stack, affine).probabilities is None


SCAN = np.random.default_rng(0).normal(size=(16, 16, 16))


@pytest.mark.parametrize(
    ("scan", "affine", "message"),
    [
        (SCAN, None, "the array has no affine"),
        (SCAN, np.eye(3), "not 4 x 4"),
        (SCAN, np.diag([1, 1, 1, 2]), "not 4 x 4"),
        (SCAN, np.diag([1, 0, 1, 1]), "spacing of 1 x 0 x 1 mm"),
        (SCAN, [*np.full((3, 4), np.nan), (0, 0, 0, 1)], "spacing of nan"),
        (SCAN[0], np.eye(4), "the shape 16 x 16, the network was trained on 1 channels"),
        (np.stack([SCAN, SCAN]), np.eye(4), "the shape 2 x 16 x 16 x 16"),
        (SCAN[:0], np.eye(4), "the shape 0 x 16 x 16"),
        (SCAN.astype(complex), np.eye(4), "of type complex128"),
        (SCAN * np.nan, np.eye(4), "the channel MRI has 4096 voxels that are NaN or infinite"),
        (SCAN * 1e300, np.eye(4), "NaN or infinite"),
        (SCAN * 0, np.eye(4), "the channel MRI is constant"),
    ],
)
def test_arrays_that_are_no_scan(model: Path, scan: Array, affine: Any, message: str) -> None:
    with pytest.raises(ScanError, match=message) as raised:
        Predictor(model, device="cpu")(scan, affine)
    assert raised.value.remedy


def test_paths_that_are_no_single_scan(model: Path, scans: Path, tmp_path: Path) -> None:
    predictor = Predictor(model, device="cpu")
    with pytest.raises(DatasetError, match="holds 3 cases, anisotropic to swapped"):
        predictor(scans)
    with pytest.raises(DatasetError, match="does not exist"):
        predictor(tmp_path / "none.nii.gz")


def test_settings_are_checked(model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="overlap 2"):
        Predictor(model, overlap=2)
    with pytest.raises(MednextError):
        Predictor(tmp_path / "none.pt")
    for weights in ((0,), (float("nan"),), ("2",), (), (1, 1)):
        with pytest.raises(SettingsError, match="--weights"):
            Predictor(model, weights=weights)
    for axes in (("left",), "left_right", ()):
        with pytest.raises(SettingsError, match="there is no such axis"):
            Predictor(model, mirror_axes=axes)
    with pytest.raises(SettingsError, match="--mirror-axes with --no-mirror"):
        Predictor(model, mirror=False, mirror_axes=("left_right",))
    with pytest.raises(MednextError, match="warp"):
        Predictor(model, engine="warp")
