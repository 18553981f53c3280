"""An image finished block by block is the image predicted whole; what is not open is not kept."""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mednext_cli.inference.average import Member, NetworkAverage
from mednext_cli.inference.open_sums import OpenSums
from mednext_cli.inference.sliding import Shown, Window, predict_blocks
from mednext_cli.inference.sweep import Tiling, choose_sweep
from mednext_cli.inference.tiling import gaussian_importance, window_starts
from mednext_cli.inference.torch_engine import NetworkEngine
from mednext_cli.volumes.turning import Turn
from tests.inference.synthetic import PLAN, predict, predict_whole
from tests.inference.test_average import Shift

Shape = tuple[int, int, int]
shapes = st.tuples(*[st.integers(1, 18)] * 3)
patches = st.tuples(*[st.sampled_from([4, 8, 12])] * 3)
overlaps = st.sampled_from([0.0, 0.3, 0.5, 0.7])


def added_up(image: np.ndarray, patch: Shape, overlap: float) -> np.ndarray:
    """Of a network whose first class is the tile, its second the tile's mean: sums of the whole."""
    starts = list(product(*window_starts(image.shape, patch, overlap)))
    weights = gaussian_importance(patch) if len(starts) > 1 else np.ones(patch, np.float32)
    total = np.zeros((2, *image.shape), np.float32)
    norm = np.zeros(image.shape, np.float32)
    for corner in starts:
        place = tuple(slice(at, at + size) for at, size in zip(corner, patch, strict=True))
        tile = image[place]
        total[(slice(None), *place)] += (
            np.stack([tile, np.full_like(tile, tile[0, 0, 0])]) * weights
        )
        norm[place] += weights
    return total / norm


def call(tiles: Tensor) -> list[Tensor]:
    return [torch.cat([tile, tile[:, :1, :1, :1].expand_as(tile)]) for tile in tiles]


@settings(max_examples=20, deadline=None)
@given(extra=shapes, patch=patches, overlap=overlaps, batch=st.integers(1, 3))
def test_blocks_are_parts_of_the_whole(
    extra: Shape, patch: Shape, overlap: float, batch: int
) -> None:
    depth, height, width = (more + size - 1 for more, size in zip(extra, patch, strict=True))
    image = np.random.default_rng(0).normal(size=(1, depth, height, width)).astype(np.float32)
    window, shape = Window(patch, (), overlap), (depth, height, width)
    sweep = choose_sweep([window.tiling(shape)])
    shown = Shown(call, Tensor.float, lambda _: None)
    expected, seen = added_up(image[0], patch, overlap), np.zeros(shape, int)
    for box, scores in predict_blocks([shown], image, window, sweep, batch):
        seen[box] += 1
        part = expected[(slice(None), *box)]
        if sweep.axes == (0, 1):  # added in the same order
            np.testing.assert_array_equal(scores, part)
        else:
            np.testing.assert_allclose(scores, part, atol=1e-5)
    assert (seen == 1).all()


@settings(max_examples=20, deadline=None)
@given(shape=shapes, patch=patches, overlap=overlaps)
def test_no_more_is_open_than_was_counted(shape: Shape, patch: Shape, overlap: float) -> None:
    tiling = Tiling(shape, patch, overlap)
    sweep = choose_sweep([tiling])
    sums, tiles, most = OpenSums(tiling, sweep), list(tiling.corners(sweep.axes)), 0
    weights = torch.ones(patch)
    for box, stops in sweep.blocks():
        due = tiling.columns_before(sweep.axes, stops)
        while tiles and tiles[0][0] < due:
            sums.add(tiles.pop(0)[1], weights[None], weights)
            most = max(most, sum(total.numel() for total, _ in sums._cells.values()))
        assert (sums.take_mean(box) == 1).all()
    assert not tiles
    assert not sums._cells
    assert most <= tiling.count_open(sweep.axes)


def test_networks_with_other_tiles_are_averaged_all_the_same() -> None:
    image = np.random.default_rng(0).normal(size=(1, 20, 27, 18)).astype(np.float32)
    members = (
        Member(Shift(-3.0), (16, 32, 16), (0, 2), 0.5, weight=1.0),
        Member(Shift(2.0), (8, 8, 16), (), 0.3, weight=2.0),
        Member(Shift(1.0), (1, 16, 16), (1,), 0.5, Turn(2), weight=0.5),
        Member(Shift(0.5), (8, 8, 16), (), 0.3, weight=3.0),
    )
    alone = [predict_whole(NetworkAverage((member,), PLAN), image) for member in members]
    weights = [member.weight for member in members]
    expected = np.average(alone, axis=0, weights=weights)
    made = predict_whole(NetworkAverage(members, PLAN), image)
    np.testing.assert_allclose(made, expected, atol=2e-6)
    told: list[float] = []
    apart = predict_whole(
        NetworkAverage(members, PLAN), image, single=lambda _, share: told.append(share)
    )
    np.testing.assert_allclose(apart, expected, atol=2e-6)
    assert told[:4] == pytest.approx([weight / sum(weights) for weight in weights])


def after(monkeypatch: pytest.MonkeyPatch, count: int, then: object) -> None:
    """Have the networks do something else in that call."""
    real, calls = NetworkEngine.__call__, []

    def work(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        calls.append(1)
        made = real(engine, tiles)
        return then(made) if len(calls) == count else made  # type: ignore[operator]

    monkeypatch.setattr(NetworkEngine, "__call__", work)


ONE = ("--cases", "anisotropic", "--uncertainty", "--probabilities", "--workers", "0")


def test_nan_of_a_late_tile_leaves_nothing(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    after(monkeypatch, 6, lambda made: made * torch.nan)
    out = tmp_path / "out"
    assert predict(scans, out, model, options=ONE) == 2
    assert "the network gives NaN for anisotropic" in capsys.readouterr().err
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["predict.json"]


def test_what_was_interrupted_between_blocks_is_made_as_if_it_was_not(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Tensor) -> Tensor:
        raise KeyboardInterrupt

    out, alone = tmp_path / "out", tmp_path / "alone"
    with monkeypatch.context() as patch:
        after(patch, 4, interrupt)
        assert predict(scans, out, model, options=ONE) == 130
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["predict.json"]
    for folder in (out, alone):
        assert predict(scans, folder, model, options=ONE) == 0
    for name in ("anisotropic.nii.gz", "uncertainty/anisotropic/entropy.nii.gz"):
        assert (out / name).read_bytes() == (alone / name).read_bytes()


KILLED = """
import os, sys
from mednext_cli.app import main_and_exit
from mednext_cli.inference.torch_engine import NetworkEngine
real, calls = NetworkEngine.__call__, []
def work(engine, tiles):
    calls.append(1)
    if len(calls) == 5:
        os.kill(os.getpid(), 9)
    return real(engine, tiles)
NetworkEngine.__call__ = work
main_and_exit()
"""


@pytest.mark.slow
def test_what_was_killed_between_blocks_is_made_as_if_it_was_not(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    out, alone = tmp_path / "out", tmp_path / "alone"
    words = ["predict", str(scans), "--model", str(model), "--out", str(out)]
    always = ["--device", "cpu", "--engine", "torch", *ONE]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", KILLED, *words, *always], env=environment)
    assert run.returncode not in (0, 1, 2, 130)
    assert not list(out.glob("*.nii.gz"))
    for folder in (out, alone):
        assert predict(scans, folder, model, options=ONE) == 0
    name = "anisotropic.nii.gz"
    assert (out / name).read_bytes() == (alone / name).read_bytes()
