"""A small cache of real hippocampus cases, and the options of a tiny run on it."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mednext_cli.app import main
from tests.training.synthetic import make_cache

NAME = "Task04_Hippocampus"
TINY = (
    "model.base_channels=4",
    "training.epochs=2",
    "training.iterations_per_epoch=3",
    "training.validation_iterations=1",
    "training.patch_voxels=[16, 32, 16]",
    "training.folds=2",
    "inference.overlap=0.0",
    "inference.mirror=false",
)


@pytest.fixture(scope="session")
def small_raw(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hippocampus cases in MSD layout."""
    source = data_folder / NAME
    content = json.loads((source / "dataset.json").read_text())
    content["training"] = content["training"][:5]
    content["test"] = []
    raw = tmp_path_factory.mktemp("raw") / NAME
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for entry in content["training"]:
        for path in entry.values():
            os.link(source / path, raw / path) if _same_disk(source, raw) else (
                raw / path
            ).write_bytes((source / path).read_bytes())
    (raw / "dataset.json").write_text(json.dumps(content))
    return raw


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev and os.access(one, os.W_OK)


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
