"""CONTRIBUTING's package, taken literally: written down, registered, and found by the commands."""

import re
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import CheckpointError, PluginError
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import describe_network
from mednext_cli.settings.progress import Origin
from mednext_cli.training.initialise import Start, initialise


def _blocks(root: Path, heading: str) -> list[str]:
    """The blocks of code below a heading."""
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found: list[list[str]] = [[]]
    for line in section.split("\n"):
        if line.startswith(" " * 8) or (found[-1] and not line.strip()):
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [textwrap.dedent("\n".join(block)).strip() + "\n" for block in found if block]


@pytest.fixture
def toy(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The layout and the network in a package of its own, as its pyproject.toml says."""
    project = tomllib.loads(_blocks(root, "As a package of your own")[0])
    package = tmp_path / "package"
    names = project["tool"]["setuptools"]["py-modules"]
    headings = ("Add a dataset layout", "Add a network")
    groups = project["project"]["entry-points"]
    lines = [
        f"{line}\n"
        for group, entries in groups.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()))
    ]
    information = package / "mednext_toy-0.1.dist-info"
    information.mkdir(parents=True)
    for name, heading in zip(names, headings, strict=True):
        (package / f"{name}.py").write_text(_blocks(root, heading)[0])
    (information / "METADATA").write_text("Name: mednext-toy\nVersion: 0.1\n")
    (information / "entry_points.txt").write_text("".join(lines))
    monkeypatch.syspath_prepend(str(package))
    find_plugins.cache_clear()
    yield
    find_plugins.cache_clear()


@pytest.mark.usefixtures("toy")
def test_the_network_of_contributing_works(capsys: pytest.CaptureFixture[str]) -> None:
    spec = describe_network("toy", 2, 3, width=4)
    assert build_plain(spec)(torch.randn(1, 2, 4, 6, 2)).shape == (1, 3, 4, 6, 2)
    assert not spec.deep_supervision
    settings = ["--set", "model.network=toy", "--set", "model.toy.width=16"]
    assert main(["recipes", "check", "mednext", *settings]) == 0
    assert "toy-w16" in capsys.readouterr().out
    assert main(["recipes", "check", "mednext", *settings, "--set", "model.toy.wide=1"]) == 2
    assert "unknown key model.toy.wide, did you mean model.toy.width?" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_what_a_family_lacks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    check = ["recipes", "check", "mednext", "--set", "model.network=toy"]
    assert main([*check, "--set", "model.deep_supervision=true"]) == 2
    assert "network toy has no heads for deep supervision" in capsys.readouterr().err
    assert main(["train", "nothing", *check[3:], "--kernel", "5"]) == 2
    assert "--kernel: is of another network, the recipe's is toy" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_the_recipe_of_contributing_is_the_same_as_its_options(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "toy.toml"
    recipe.write_text(_blocks(root, "Add a network")[-1])
    assert main(["recipes", "check", str(recipe)]) == 0
    assert "toy-w16" in capsys.readouterr().out


@pytest.mark.usefixtures("toy")
def test_the_layout_of_contributing_is_preprocessed_and_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, predictions = tmp_path / "raw", tmp_path / "predictions"
    for folder in (raw, predictions):
        folder.mkdir()
    for case in ("a", "b"):
        voxels = np.zeros((24, 24, 24), np.uint8)
        voxels[4:9, 4:9, 4:9], voxels[12:18, 12:18, 12:18] = 1, 2
        label = nibabel.Nifti1Image(voxels, np.eye(4))
        nibabel.save(label, raw / f"{case}_label.nii.gz")
        nibabel.save(label, predictions / f"{case}.nii.gz")
        image = nibabel.Nifti1Image(voxels.astype(np.float32) * 50 + 1, np.eye(4))
        nibabel.save(image, raw / f"{case}_image.nii.gz")
    layout = ["--dataset", "toy", "--workers", "0"]
    cache = ["--cache", str(tmp_path / "cache")]
    assert main(["preprocess", str(raw), *layout, *cache]) == 0
    scores = ["--out", str(tmp_path / "scores")]
    assert main(["evaluate", str(predictions), str(raw), *layout, *scores]) == 0
    rows = (tmp_path / "scores" / "cases.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [
        ["a", "ball"], ["a", "box"], ["b", "ball"], ["b", "box"]
    ]  # fmt: skip
    assert "warning" not in capsys.readouterr().err


def test_without_its_package_a_network_is_named_with_a_remedy(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "toy.toml"
    recipe.write_text(_blocks(root, "Add a network")[-1])
    monkeypatch.delenv("MEDNEXT_PLUGINS", raising=False)
    assert main(["recipes", "check", str(recipe)]) == 2
    said = capsys.readouterr().err
    assert "there is no such network. Known: mednext" in said
    assert "Install the package that brings it. Correct the recipe" in said
    assert "unknown key" not in said
    with pytest.raises(PluginError, match=r"Install the package that brings it$"):
        find_family("toy")
    monkeypatch.setenv("MEDNEXT_PLUGINS", "")
    with pytest.raises(PluginError, match=r"brings it, or name it in MEDNEXT_PLUGINS$"):
        find_family("toy")


@pytest.mark.usefixtures("toy")
def test_a_checkpoint_of_another_network_is_said_with_what_to_train(tmp_path: Path) -> None:
    begun = describe_network("toy", 1, 3, width=4)
    path = tmp_path / "begun.pt"
    save_checkpoint(path, Checkpoint(begun, build_plain(begun).state_dict()))
    others = {
        "width 4 instead of 8. Choose the same": describe_network("toy", 1, 3, width=8),
        "network: network toy instead of mednext. Train with --network toy": describe_network(
            "mednext", 1, 3
        ),
    }
    for said, other in others.items():
        with pytest.raises(CheckpointError, match=re.escape(said)):
            initialise(build_plain(other), other, Start(path, "0"), Origin())
