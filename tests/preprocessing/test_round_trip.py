"""Preprocess and back: the label map on its own grid, any orientation, tilt and spacing.

Dice above 0.99 holds for blobs from 7 voxels wide where the plan's spacing is nowhere coarser than
the scan's and both are anisotropic along the same axes. Elsewhere a stated floor holds: coarser
voxels lose detail, and where only one way counts as anisotropic nnU-Net takes the nearest slice on
that way alone.
"""

import tempfile
from itertools import permutations, product
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.preprocessing.apply import prepare_case
from mednext_cli.preprocessing.restore import restore_label_map
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan
from tests.preprocessing.synthetic import blob, read, write

ORIENTATIONS = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]
SPACINGS = st.tuples(*[st.floats(0.3, 8.0)] * 3)
# Halves of the shape: 7 to 19 voxels wide.
RADII = st.floats(0.35, 0.8)
# Degrees about x, y and z: an oblique scan whose axes still run along their nearest world axes.
TILTS = st.tuples(*[st.floats(-12.0, 12.0)] * 3)
_ANISOTROPY = 3.0


def round_trip(
    spacing: tuple[float, ...],
    target: tuple[float, ...],
    turn: np.ndarray,
    tilt: tuple[float, ...],
    radius: float,
) -> float:
    """Dice of the label map that comes back with the one that went; `target` in file order."""
    shape = (22, 24, 20)
    label = blob(shape, (0.5, 0.45, 0.5), radius).astype(np.uint8)
    affine = np.eye(4)
    affine[:3, :3] = (
        Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() @ turn @ np.diag(spacing)
    )
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    axis_of = np.abs(turn).argmax(axis=1)  # which file axis runs along x, y, z
    z, y, x = (target[axis_of[world]] for world in (2, 1, 0))
    plan = Plan(
        dataset="blobs", layout="msd", spacing_mm=(z, y, x), patch_voxels=(32, 32, 32),
        batch_size=2, channels=("MRI",), normalisation=(ChannelNormalisation(scheme="z_score"),),
        label_set=LabelSet({"blob": 1}, {"blob": (1,)}),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        paths = [
            write(Path(folder) / name, array, affine)
            for name, array in (("image.nii.gz", image), ("label.nii.gz", label))
        ]
        prepared = prepare_case(Case("blob", (Channel(paths[0]),), paths[1]), plan)
        original = read(paths[1])
    assert prepared.label is not None
    scores = np.stack([prepared.label == index for index in range(2)]).astype(np.float32)
    back = restore_label_map(scores, prepared.geometry, plan)
    assert back.shape == original.shape
    return float(2 * np.sum((back == 1) & (original == 1)) / (back.sum() + original.sum()))


def coarse_axes(spacing: tuple[float, ...]) -> tuple[int, ...]:
    """Axes across which nnU-Net resamples such a grid by the nearest slice."""
    largest = max(spacing)
    if largest / min(spacing) <= _ANISOTROPY:
        return ()
    return tuple(axis for axis, length in enumerate(spacing) if length > 0.999 * largest)


@settings(max_examples=40, deadline=None)
@given(
    spacing=SPACINGS,
    ratios=st.tuples(*[st.floats(0.4, 1.0)] * 3),
    turn=st.sampled_from(ORIENTATIONS),
    tilt=TILTS,
    radius=RADII,
)
def test_nothing_is_lost_where_the_target_is_no_coarser(
    spacing: tuple[float, ...],
    ratios: tuple[float, ...],
    turn: np.ndarray,
    tilt: tuple[float, ...],
    radius: float,
) -> None:
    target = tuple(s * r for s, r in zip(spacing, ratios, strict=True))
    assume(coarse_axes(spacing) == coarse_axes(target))
    assert round_trip(spacing, target, turn, tilt, radius) > 0.99


@settings(max_examples=25, deadline=None)
@given(
    spacing=SPACINGS,
    ratios=st.tuples(*[st.floats(0.5, 2.0)] * 3),
    turn=st.sampled_from(ORIENTATIONS),
    tilt=TILTS,
)
def test_what_is_lost_where_the_target_is_coarser_is_bounded(
    spacing: tuple[float, ...],
    ratios: tuple[float, ...],
    turn: np.ndarray,
    tilt: tuple[float, ...],
) -> None:
    target = tuple(s * r for s, r in zip(spacing, ratios, strict=True))
    floor = 1 - 0.12 * max(1.0, *ratios)
    assert round_trip(spacing, target, turn, tilt, 0.6) > floor
