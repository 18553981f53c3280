"""A small cache of made-up cases, and the options of a tiny run on it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from tests.preprocessing.synthetic import NAME as NAME
from tests.preprocessing.synthetic import make_raw
from tests.training.synthetic import make_cache

TINY = (
    "model.mednext.base_channels=4",
    "training.epochs=2",
    "training.iterations_per_epoch=3",
    "training.validation_iterations=1",
    "training.patch_voxels=[16, 32, 16]",
    "training.folds=2",
    "inference.overlap=0.0",
    "inference.mirror=false",
)


@pytest.fixture(scope="session")
def small_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five made-up cases in MSD layout, with the names and about the size of the hippocampus's."""
    folder = tmp_path_factory.mktemp("raw")
    names = {"0": "background", "1": "anterior", "2": "posterior"}
    return make_raw(folder, cases=5, size=(34, 48, 36), affine=np.eye(4), labels=names)


@pytest.fixture(scope="session")
def cache(small_raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the cache of `small_raw`."""
    folder = tmp_path_factory.mktemp("cache")
    options = ["--dataset", "msd", "--cache", str(folder), "--workers", "0"]
    assert main(["preprocess", str(small_raw), *options]) == 0
    return folder


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the cache of made-up cases."""
    return make_cache(tmp_path_factory.mktemp("boxes"))


Train = Callable[..., int]


@pytest.fixture
def train(cache: Path, tmp_path: Path) -> Train:
    """Run ``mednext train`` with the tiny recipe; more settings and options may be given."""

    def run(*options: str, settings: tuple[str, ...] = (), runs: Path = tmp_path / "runs") -> int:
        changes = [part for setting in (*TINY, *settings) for part in ("--set", setting)]
        folders = ["--cache", str(cache), "--runs", str(runs)]
        return main(
            ["train", NAME, *folders, "--device", "cpu", "--recipe", "cpu", *changes, *options]
        )

    return run
