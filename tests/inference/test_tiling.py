"""Tiles lie and count as nnU-Net's do, and put an image together again without a trace."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mednext_cli.inference import open_sums
from mednext_cli.inference.sliding import predict_probabilities
from mednext_cli.inference.tiling import gaussian_importance, window_starts
from tests.places import COMMITTED

NNUNET = COMMITTED / "nnunet_resampling"
TILES = json.loads((NNUNET / "sliding_window_starts.json").read_text())


@pytest.mark.parametrize("tiles", TILES, ids=lambda tiles: f"{tiles['image']}-{tiles['step']}")
def test_window_starts_are_those_of_nnunet(tiles: dict[str, Any]) -> None:
    made = window_starts(tiles["image"], tiles["patch"], overlap=1 - tiles["step"])
    assert made == tiles["starts"]


@pytest.mark.parametrize("patch", ["32x48x16", "5x12x9"])
def test_gaussian_is_that_of_nnunet(patch: str) -> None:
    depth, height, width = map(int, patch.split("x"))
    with np.load(NNUNET / "gaussian_importance.npz") as file:
        expected = file[patch]
    assert np.abs(gaussian_importance((depth, height, width)) - expected).max() <= 1e-5


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    patch=st.tuples(*[st.sampled_from([4, 8, 16])] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    axes=st.sets(st.integers(0, 2)),
    batch=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_an_identity_network_gives_the_image_back(
    shape: tuple[int, int, int],
    patch: tuple[int, int, int],
    overlap: float,
    axes: set[int],
    batch: int,
) -> None:
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    seen: list[tuple[int, ...]] = []

    def identity(images: Tensor) -> list[Tensor]:
        seen.append(tuple(images.shape))
        return list(images)

    found = predict_probabilities(identity, image, patch, tuple(axes), overlap, batch)
    assert found.shape == image.shape
    # Up to 4^3 tiles and 8 mirrorings add up in a voxel, in float32: 512 roundings of 6e-8.
    assert np.abs(found - image).max() <= 3e-5 * np.abs(image).max()
    assert all(one[2:] == patch for one in seen)


def test_mirroring_averages_over_all_combinations() -> None:
    image = np.random.default_rng(1).normal(size=(1, 8, 8, 8)).astype(np.float32)
    ramp = torch.arange(8.0).reshape(1, 1, 8, 1, 1)
    calls: list[int] = []

    def add_ramp(images: Tensor) -> list[Tensor]:
        calls.append(len(images))
        return list(images + ramp)

    told: list[tuple[int, int]] = []
    found = predict_probabilities(
        add_ramp, image, (8, 8, 8), (0, 2), batch=3, report=lambda *done: told.append(done)
    )
    assert calls == [3, 1]
    assert told == [(3, 4), (4, 4)]
    np.testing.assert_allclose(found, image + 3.5, atol=1e-5)


@pytest.mark.parametrize("length", [16, 17, 31, 32, 33, 100])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_tiles_cover_every_voxel(length: int, overlap: float) -> None:
    starts = window_starts((length,), (16,), overlap)[0]
    assert starts[0] == 0
    assert starts[-1] == length - 16
    gaps = np.diff(starts)
    assert np.all(gaps <= max(1, round(16 * (1 - overlap))))


@pytest.mark.parametrize("free", [0, 2**40])
def test_sums_that_a_gpu_has_no_room_for_lie_in_main_memory(
    monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """Be it known before, or only when memory is asked for."""

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(open_sums, "free_device_bytes", lambda _: free)
    monkeypatch.setattr(torch, "zeros", full)
    made = open_sums._zeros((2, 3), torch.device("cuda"))
    assert (tuple(made.shape), made.device.type) == ((2, 3), "cpu")
    assert not made.any()


@pytest.mark.gpu
def test_sums_on_a_gpu_are_those_in_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).normal(size=(2, 20, 30, 17)).astype(np.float32)

    def predict() -> np.ndarray:
        return predict_probabilities(
            lambda tiles: list(tiles.to("cuda").softmax(1)), image, (16, 16, 16), (0, 2)
        )

    there = predict()
    monkeypatch.setattr(open_sums, "free_device_bytes", lambda _: 0)
    np.testing.assert_array_equal(predict(), there)
