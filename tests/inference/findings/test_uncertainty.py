"""Entropy and disagreement of probabilities that are known."""

import numpy as np
import pytest

from mednext_cli.inference.findings.files import DISAGREEMENT, ENTROPY
from mednext_cli.inference.findings.uncertainty import Doubts, entropy


def voxel(*probabilities: float) -> np.ndarray:
    return np.array(probabilities, np.float32).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("scores", "activation", "expected"),
    [
        (voxel(1, 0, 0, 0), "softmax", 0.0),
        (voxel(0.25, 0.25, 0.25, 0.25), "softmax", 1.0),
        (voxel(0.5, 0.5, 0, 0), "softmax", 0.5),
        (voxel(1, 0, 1), "sigmoid", 0.0),
        (voxel(0.5, 0.5), "sigmoid", 1.0),
        (voxel(0.5, 1.0, 0.0, 0.5), "sigmoid", 0.5),
        (voxel(0.5, 1.0000001, 0.0, 0.5), "sigmoid", 0.5),  # ten tenths, added in float32
    ],
)
def test_entropy_is_a_share_of_the_largest(
    scores: np.ndarray, activation: str, expected: float
) -> None:
    assert entropy(scores, activation).item() == pytest.approx(expected, abs=1e-6)


def test_entropy_is_the_same_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).random((3, 7, 5, 6)).astype(np.float32)
    scores /= scores.sum(axis=0)
    expected = -(scores * np.log(scores)).sum(axis=0) / np.log(3)
    monkeypatch.setattr("mednext_cli.inference.findings.uncertainty._VALUES_AT_ONCE", 200)
    np.testing.assert_allclose(entropy(scores, "softmax"), expected, atol=1e-6)


def test_networks_disagree_where_each_is_sure_of_another_class() -> None:
    first = np.concatenate([voxel(1, 0), voxel(1, 0), voxel(0.5, 0.5)], axis=1)
    second = np.concatenate([voxel(0, 1), voxel(1, 0), voxel(0.5, 0.5)], axis=1)
    doubts = Doubts("softmax", members=2)
    doubts.add(first, 0.5)
    doubts.add(second, 0.5)
    maps = doubts.finish((first + second) / 2)
    np.testing.assert_allclose(maps[ENTROPY].ravel(), [1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(maps[DISAGREEMENT].ravel(), [1, 0, 0], atol=1e-6)


def test_shares_weigh_in_the_disagreement() -> None:
    doubts = Doubts("softmax", members=2)
    doubts.add(voxel(1, 0), 0.75)
    doubts.add(voxel(0.5, 0.5), 0.25)
    maps = doubts.finish(voxel(0.875, 0.125))
    mixed = -(0.875 * np.log2(0.875) + 0.125 * np.log2(0.125))
    assert maps[DISAGREEMENT].item() == pytest.approx(mixed - 0.25, abs=1e-6)


def test_one_network_does_not_disagree_with_itself() -> None:
    doubts = Doubts("softmax", members=1)
    doubts.add(voxel(0.5, 0.5), 1.0)
    assert set(doubts.finish(voxel(0.5, 0.5))) == {ENTROPY}
