"""The average of networks by itself: loaded once, it predicts one prepared image after another."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.inference.average import Member, NetworkAverage, build_average
from mednext_cli.inference.engine import Activation, EngineOptions
from mednext_cli.inference.models import load_models
from mednext_cli.volumes.turning import Turn
from tests.inference.synthetic import PLAN, predict_whole, save_model

CPU = torch.device("cpu")
PATCH = (16, 32, 16)


class Shift:
    """Logits that are the image, and for the other classes a constant."""

    def __init__(self, constant: float, activation: Activation = "softmax") -> None:
        self.device, self.activation, self._constant = CPU, activation, constant

    def __call__(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1, -1) * torch.tensor([1.0, 0, 0]).view(3, 1, 1, 1) + (
            torch.tensor([0, self._constant, self._constant]).view(3, 1, 1, 1)
        )


def make_image(shape: tuple[int, ...] = (20, 40, 17)) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)


def test_probabilities_not_logits_are_averaged_over_networks() -> None:
    members = tuple(Member(Shift(one), PATCH, (0, 2), 0.5) for one in (-3.0, 2.0))
    image, told = make_image(), []
    networks = NetworkAverage(members, PLAN)
    made = predict_whole(networks, image, lambda *one: told.append(one))
    logits = [np.stack([image[0], *[np.full_like(image[0], one)] * 2]) for one in (-3.0, 2.0)]
    expected = sum(np.exp(one) / np.exp(one).sum(0) for one in logits) / 2
    np.testing.assert_allclose(made, expected, atol=2e-6)
    assert {note for _, note in told} == {", model 1", ", model 2"}
    count = networks.count_tiles(image.shape[1:])
    assert sum(tiles for tiles, _ in told) == count == 2 * 4 * 2**3


def test_an_engine_says_whether_its_outputs_exclude_each_other() -> None:
    image = make_image(PATCH)
    member = Member(Shift(1.0, "sigmoid"), PATCH, (), 0.5)
    made = predict_whole(NetworkAverage((member,), PLAN), image)
    np.testing.assert_allclose(made[0], 1 / (1 + np.exp(-image[0])), atol=1e-6)
    np.testing.assert_allclose(made[1:], 1 / (1 + np.exp(-1)), atol=1e-6)


class Ramp:
    """Logits of the first class that are the image times the column a voxel is in."""

    def __init__(self) -> None:
        self.device, self.activation, self.shapes = CPU, "softmax", set()

    def __call__(self, images: Tensor) -> Tensor:
        self.shapes.add(tuple(images.shape[2:]))
        columns = torch.arange(images.shape[-1], dtype=torch.float32)
        return (images * columns) * torch.tensor([1.0, 0, 0]).view(3, 1, 1, 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_are_seen_across_their_axis_and_put_back(axis: int) -> None:
    image, engine = make_image((5, 6, 7)), Ramp()
    within = [other for other in range(3) if other != axis]
    lengths = [(5, 6, 7)[other] for other in within]
    member = Member(engine, (1, *lengths), (), 0.5, Turn(axis))
    made = predict_whole(NetworkAverage((member,), PLAN), image)
    assert engine.shapes == {(1, *lengths)}
    columns = np.arange(lengths[1]).reshape([-1 if a == within[1] else 1 for a in range(3)])
    expected = 1 / (1 + 2 * np.exp(-image[0] * columns))
    np.testing.assert_allclose(made[0], expected, rtol=1e-5)
    assert member.count_tiles(image.shape[1:]) == (5, 6, 7)[axis]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrorings_are_named_by_the_axes_before_turning(axis: int) -> None:
    """Across slices there is none: of three axes two are left, of the slices' own none."""
    lengths = Turn(axis).triple((5, 6, 7))[1:]
    for mirrored, count in (((0, 1, 2), 4), ((axis,), 1)):
        member = Member(Ramp(), (1, *lengths), mirrored, 0.5, Turn(axis))
        assert member.count_tiles((5, 6, 7)) == count * (5, 6, 7)[axis]


def test_nan_is_named() -> None:
    networks = NetworkAverage((Member(Shift(float("nan")), PATCH, (), 0.5),), PLAN)
    with pytest.raises(CheckpointError, match="the network gives NaN for some_case"):
        list(networks.predict(make_image(), "some_case"))


@pytest.mark.slow
def test_loaded_once_called_often(model: Path, tmp_path: Path) -> None:
    models = load_models([model, save_model(tmp_path / "other.pt", 1)])
    asked = [one.asked(overlap=0.25, mirror=True) for one in models]
    networks = build_average(asked, "torch", EngineOptions(CPU))
    assert [member.mirror_axes for member in networks.members] == [(2,), (2,)]
    assert [member.overlap for member in networks.members] == [0.25, 0.25]
    first, other = make_image(), make_image((9, 32, 30))
    made = predict_whole(networks, first)
    assert made.shape == (3, 20, 40, 17)
    assert predict_whole(networks, other).shape == (3, 9, 32, 30)
    np.testing.assert_array_equal(predict_whole(networks, first), made)
    np.testing.assert_allclose(made.sum(0), 1, atol=1e-5)
