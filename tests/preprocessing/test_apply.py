"""A plan applied to a case, and predictions brought back to the scan's own grid."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import ScanError
from mednext_cli.preprocessing.apply import prepare_case, prepare_image
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.restore import ProbabilityArray, Restoration, restore_label_map
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from mednext_cli.volumes.resample import resample_image
from mednext_cli.volumes.scans import read_label_map, write_label_map
from tests.preprocessing.synthetic import blob, write

Z_SCORE = ChannelNormalisation(scheme="z_score")


def make_plan(spacing: tuple[float, ...] = (1.0, 1.0, 1.0), **changes: object) -> Plan:
    values: dict[str, object] = {
        "dataset": "blobs",
        "layout": "msd",
        "spacing_mm": spacing,
        "patch_voxels": (32, 32, 32),
        "batch_size": 2,
        "channels": ("MRI",),
        "normalisation": (Z_SCORE,),
        "label_set": LabelSet({"one": 3, "two": 7}, {"one": (3,), "two": (7,)}),
    }
    return Plan.model_validate({**values, **changes})


def one_hot(label: np.ndarray, classes: int) -> np.ndarray:
    return np.stack([label == index for index in range(classes)]).astype(np.float32)


def everywhere(scores: np.ndarray) -> tuple[slice, slice, slice]:
    depth, height, width = scores.shape[1:]
    return slice(0, depth), slice(0, height), slice(0, width)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * np.sum(one & other) / (np.sum(one) + np.sum(other))


grids = st.fixed_dictionaries(
    {
        "axes": st.permutations(range(3)),
        "signs": st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
        "degrees": st.floats(-15, 15),
        "spacing": st.tuples(*[st.floats(0.3, 8.0)] * 3),
        "target": st.tuples(*[st.floats(0.5, 3.0)] * 3),
    }
)


@settings(max_examples=25, deadline=None)
@given(grid=grids)
def test_a_label_map_comes_back_on_its_own_grid(
    grid: dict[str, tuple[float, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Blobs of eight voxels and more, in the scan and in what the network sees."""
    angle = np.deg2rad(grid["degrees"])
    tilt = np.eye(3)
    tilt[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine = np.eye(4)
    turn = np.eye(3)[:, [int(axis) for axis in grid["axes"]]] * grid["signs"]
    affine[:3, :3] = tilt @ turn @ np.diag(grid["spacing"])
    shape = tuple(int(20 * max(1, max(grid["target"]) / spacing)) for spacing in grid["spacing"])
    shape = tuple(min(length, 60) for length in shape)
    plan = make_plan(tuple(min(t, 2 * s) for t, s in zip(grid["target"], [1.5] * 3, strict=True)))
    label = np.zeros(shape, np.uint8)
    label[blob(shape, (0.5, 0.5, 0.5), 0.8)] = 3
    label[blob(shape, (0.5, 0.5, 0.5), 0.4)] = 7
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    image[: shape[0] // 10] = 0  # is cropped away
    folder = tmp_path_factory.mktemp("case")
    case = Case(
        "case",
        (Channel(write(folder / "image.nii", image, affine)),),
        write(folder / "label.nii", label, affine),
    )
    prepared = prepare_case(case, plan)
    assert prepared.label is not None
    assert prepared.image.shape[1:] == prepared.label.shape == prepared.geometry.resampled_shape
    geometry = SourceGeometry.model_validate_json(prepared.geometry.model_dump_json())
    restored = restore_label_map(one_hot(prepared.label, 3), geometry, plan)
    assert restored.shape == shape
    if min(np.array(shape) * grid["spacing"] / max(plan.spacing_mm)) >= 20:
        assert dice(restored > 0, label > 0) > 0.95
        assert dice(restored == 7, label == 7) > 0.88


def test_the_target_spacing_itself_changes_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    image = random.normal(10, 3, (9, 10, 11)).astype(np.float32)
    label = random.choice([0, 3, 7], (9, 10, 11)).astype(np.uint8)
    case = Case(
        "case",
        (Channel(write(tmp_path / "i.nii", image, np.eye(4))),),
        write(tmp_path / "l.nii", label, np.eye(4)),
    )
    prepared = prepare_case(case, make_plan())
    assert prepared.label is not None
    expected = (image - image.mean()) / image.std()
    assert np.allclose(prepared.image[0], expected.transpose(2, 1, 0), atol=1e-5)
    assert np.array_equal(np.array([0, 3, 7])[prepared.label], label.transpose(2, 1, 0))
    restored = restore_label_map(one_hot(prepared.label, 3), prepared.geometry, make_plan())
    assert np.array_equal(restored, label)


def test_ct_is_clipped_and_scaled_by_the_dataset(tmp_path: Path) -> None:
    image = np.linspace(-1000, 1000, 6**3).reshape(6, 6, 6).astype(np.float32)
    path = write(tmp_path / "i.nii", image, np.eye(4))
    ct = ChannelNormalisation(scheme="ct", lower=-50, upper=300, mean=100, std=40)
    made, _ = prepare_image((Channel(path),), make_plan(normalisation=(ct,), channels=("CT",)))
    assert np.allclose(made[0], ((image.clip(-50, 300) - 100) / 40).transpose(2, 1, 0))


@pytest.mark.parametrize("spacing", [(0.7, 0.8, 5.0), (0.7, 0.8, 0.4), (2.0, 0.4, 0.3)])
@pytest.mark.parametrize("scheme", ["ct", "z_score"])
def test_repeated_slices_are_as_if_each_was_normalised(
    tmp_path: Path, spacing: tuple[float, ...], scheme: str
) -> None:
    """Slices of an anisotropic scan repeat, and statistics count every repetition."""
    image = np.random.default_rng(0).normal(100, 60, (24, 25, 9)).astype(np.float32)
    path = write(tmp_path / "i.nii", image, np.diag([*spacing, 1.0]))
    ct = ChannelNormalisation(scheme="ct", lower=20, upper=180, mean=100, std=40)
    plan = make_plan(normalisation=(ct if scheme == "ct" else Z_SCORE,))
    prepared = prepare_case(Case("case", (Channel(path),), None), plan, stored_type="float16")
    canonical, new = image.transpose(2, 1, 0), prepared.geometry.resampled_shape
    whole = resample_image(canonical, new, spacing[::-1], plan.spacing_mm)
    mean, std = (100, 40) if scheme == "ct" else (whole.mean(), whole.std())
    clipped = whole.clip(20, 180) if scheme == "ct" else whole
    assert prepared.image.dtype == np.float16
    assert np.allclose(prepared.image[0], (clipped - mean) / std, atol=2e-3, rtol=1e-3)


def test_statistics_inside_the_non_zero_voxels(tmp_path: Path) -> None:
    """The box is that of any channel; holes count as inside, the corners do not."""
    first = np.zeros((12, 12, 12), np.float32)
    inside = blob((12, 12, 12), (0.5, 0.5, 0.5), 0.7)
    first[inside] = np.random.default_rng(0).normal(50, 5, inside.sum())
    first[6, 6, 6] = 0
    second = np.where(inside, 3.0, 0.0).astype(np.float32)
    second[5] *= 2
    second[6, 6, 6] = 0
    channels = (
        Channel(write(tmp_path / "a.nii", first, np.eye(4))),
        Channel(write(tmp_path / "b.nii", second, np.eye(4))),
    )
    masked = ChannelNormalisation(scheme="z_score", use_nonzero_mask=True)
    plan = make_plan(channels=("T1", "T2"), normalisation=(masked, masked))
    made, geometry = prepare_image(channels, plan)
    low, high = np.flatnonzero(inside.any(axis=(1, 2)))[[0, -1]]
    assert geometry.box == ((low, high + 1),) * 3
    values = first[inside]
    expected = np.where(inside, (first - values.mean()) / values.std(), 0)
    box = slice(low, high + 1)
    assert np.allclose(made[0], expected[box, box, box].transpose(2, 1, 0), atol=1e-4)
    assert made[0][6 - low, 6 - low, 6 - low] < -5  # the hole


@pytest.mark.parametrize("shape", [(1, 20, 20), (20, 20, 1), (30, 1, 30)])
def test_one_slice(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    path = write(tmp_path / "i.nii", image, np.diag([0.7, 0.8, 5.0, 1.0]))
    made, geometry = prepare_image((Channel(path),), make_plan())
    assert np.isfinite(made).all()
    scores = np.random.default_rng(0).random((3, *made.shape[1:])).astype(np.float32)
    assert restore_label_map(scores, geometry, make_plan()).shape == shape


def test_regions_are_written_in_their_order(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    path = write(tmp_path / "i.nii", image, np.eye(4))
    plan = make_plan(
        label_set=LabelSet(
            names={"oedema": 1, "core": 4},
            regions={"whole": (1, 4), "core": (4,)},
            region_training=True,
            region_values=(1, 4),
        )
    )
    _, geometry = prepare_image((Channel(path),), plan)
    scores = np.zeros((2, 6, 6, 6), np.float32)
    scores[0, :4], scores[1, 2:5] = 0.9, 0.6
    made = restore_label_map(scores, geometry, plan)
    assert plan.output_channels == 2
    assert made[0, 0].tolist() == [1, 1, 4, 4, 4, 0]


def test_probabilities_on_the_scan_s_grid(tmp_path: Path) -> None:
    """Outside the cropped box it is background for certain."""
    image = np.zeros((8, 9, 10), np.float32)
    image[2:6, 2:7, 2:8] = np.random.default_rng(0).normal(5, 1, (4, 5, 6))
    affine = np.diag([-1.0, 2.0, 1.0, 1.0])
    _, geometry = prepare_image((Channel(write(tmp_path / "i.nii", image, affine)),), make_plan())
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], geometry.resampled_shape)
    scores = np.moveaxis(scores, -1, 0).astype(np.float32)
    sink = ProbabilityArray(geometry, make_plan())
    Restoration(geometry, make_plan(), sink=sink).add(everywhere(scores), scores)
    made = sink.whole()
    assert made.shape == (3, 8, 9, 10)
    assert np.allclose(made.astype(np.float32).sum(axis=0), 1, atol=2e-3)
    assert (made[0][image == 0] == 1).all()
    labels = restore_label_map(scores, geometry, make_plan())
    agree = np.array([0, 3, 7])[made.argmax(axis=0)] == labels
    assert agree.mean() > 0.99  # float16 makes a draw now and then


def test_another_number_of_channels_than_trained_on(tmp_path: Path) -> None:
    path = write(tmp_path / "i.nii", np.eye(4)[..., None].astype(np.float32))
    with pytest.raises(ScanError, match="2 channels, the network was trained on 1"):
        prepare_image((Channel(path), Channel(path)), make_plan())


def test_a_real_ct_and_back(data_folder: Path, tmp_path: Path) -> None:
    """A slab with its organs to 2 mm and back."""
    folder = data_folder / "totalsegmentator_ct"
    truth = read_label_map(folder / "example_seg.nii.gz").array
    counts = np.bincount(truth.ravel())
    values = [int(value) for value in np.argsort(counts[1:])[::-1][:4] + 1]
    names = {f"organ_{value}": value for value in values}
    ct = ChannelNormalisation(scheme="ct", lower=-1000, upper=1000, mean=0, std=500)
    plan = make_plan(
        (2.0, 2.0, 2.0),
        label_set=LabelSet(names, {name: (value,) for name, value in names.items()}),
        normalisation=(ct,),
        channels=("CT",),
    )
    kept = np.where(np.isin(truth, values), truth, 0).astype(np.uint8)
    scan = folder / "example_ct_sm.nii.gz"
    write_label_map(tmp_path / "label.nii.gz", kept, scan)
    case = Case("ct", (Channel(scan),), tmp_path / "label.nii.gz")
    prepared = prepare_case(case, plan)
    assert prepared.label is not None
    scores = one_hot(prepared.label, len(values) + 1)
    made = restore_label_map(scores, prepared.geometry, plan)
    assert made.shape == truth.shape
    for value in values:
        assert dice(made == value, truth == value) > 0.98, value
