"""Checkpoints: nothing lost, nothing executed, nothing half-written."""

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, PluginError, StorageError
from mednext_cli.networks.building import load_weights
from mednext_cli.networks.checkpoint import (
    Checkpoint,
    build_network,
    load_checkpoint,
    save_checkpoint,
)
from mednext_cli.networks.choice import completed
from mednext_cli.settings.progress import Origin, Progress
from mednext_cli.settings.recipe import ModelSettings, Recipe
from tests.networks.made import build, mednext
from tests.settings.examples import PLAN


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    description = mednext("S", 3, 1, 2, 2)
    network = build(description)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.randn(1, 1, 16, 16, 32)).sum().backward()
    optimiser.step()
    return Checkpoint(
        description,
        network.state_dict(),
        plan=PLAN,
        recipe=Recipe(model=ModelSettings(mednext={"kernel": 3})),
        progress=Progress(iteration=3, best_dice=0.5, moving_dice=0.25),
        origin=Origin(training_cases=("a", "b"), case_keys={"a": "1"}),
        optimiser=optimiser.state_dict(),
        metadata={"random": (1, "a", torch.random.get_rng_state())},
    )


@pytest.fixture
def saved(checkpoint, tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint)
    return path


def _equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def test_everything_comes_back(checkpoint, saved):
    loaded = load_checkpoint(saved)
    assert loaded.network == checkpoint.network
    assert loaded.recipe == completed(checkpoint.recipe)
    for part in ("state_dict", "plan", "progress", "origin", "optimiser"):
        assert _equal(getattr(loaded, part), getattr(checkpoint, part)), part
    assert loaded.metadata["torch_version"] == torch.__version__
    assert _equal(loaded.metadata["random"], checkpoint.metadata["random"])


def test_the_network_gives_the_same_numbers(checkpoint, saved):
    image = torch.randn(1, 1, 16, 16, 32)
    network = build(checkpoint.network)
    network.load_state_dict(checkpoint.state_dict)
    assert torch.equal(build_network(load_checkpoint(saved))(image), network(image))


def test_a_view_does_not_drag_its_storage_along(checkpoint, tmp_path):
    large = torch.zeros(1_000_000)
    name = next(iter(checkpoint.state_dict))
    shape = checkpoint.state_dict[name].shape
    view = {**checkpoint.state_dict, name: large[: shape.numel()].view(shape)}
    save_checkpoint(tmp_path / "view.pt", replace(checkpoint, state_dict=view, optimiser=None))
    assert (tmp_path / "view.pt").stat().st_size < large.nbytes / 2


@pytest.mark.parametrize("value", [np.float64(1.0), Path("x"), {1, 2}, np.zeros(3)])
def test_what_could_not_be_loaded_is_not_saved(checkpoint, tmp_path, value):
    with pytest.raises(TypeError, match=r"checkpoint\.metadata\.score"):
        save_checkpoint(tmp_path / "c.pt", replace(checkpoint, metadata={"score": value}))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(checkpoint, saved, monkeypatch):
    before = saved.read_bytes()

    def fail(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(StorageError, match="no space left"):
        save_checkpoint(saved, checkpoint)
    assert saved.read_bytes() == before
    assert [one.name for one in saved.parent.iterdir()] == [saved.name]


class _Stranger:
    """Unpickling it would write a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.mark.parametrize("container", ["torch", "pickle"])
def test_a_strangers_pickle_is_refused_and_not_run(tmp_path, container):
    path, trap = tmp_path / "stranger.pt", tmp_path / "trap"
    content = {"state_dict": {}, "surprise": _Stranger(trap)}
    if container == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(CheckpointError, match="pickled Python objects"):
        load_checkpoint(path)
    assert not trap.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_named(saved, share):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="damaged") as error:
        load_checkpoint(saved)
    assert str(saved) in str(error.value)


def test_a_flipped_bit_in_the_structure_is_noticed(saved):
    content = bytearray(saved.read_bytes())
    place = content.index(b"state_dict")
    content[place] ^= 0xFF
    saved.write_bytes(bytes(content))
    with pytest.raises(CheckpointError):
        load_checkpoint(saved)


@pytest.mark.parametrize("text", [b"hello, this is text", b"\x1f\x8b\x08garbage", b"{}"])
def test_another_kind_of_file_is_named(tmp_path, text):
    path = tmp_path / "file.pt"
    path.write_bytes(text)
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        load_checkpoint(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match=r"is a folder.*checkpoint_last"):
        load_checkpoint(tmp_path)


def _rewrite(path, **changes):
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)


def test_a_bare_state_dict_is_no_checkpoint_and_says_what_to_do(tmp_path, checkpoint):
    path = tmp_path / "bare.pt"
    torch.save(checkpoint.state_dict, path)
    with pytest.raises(CheckpointError, match="weights import"):
        load_checkpoint(path)


def test_another_version_is_refused(saved):
    _rewrite(saved, version=99)
    with pytest.raises(CheckpointError, match="version 99"):
        load_checkpoint(saved)


def test_missing_parts_and_impossible_networks_are_refused(saved):
    _rewrite(saved, network={"in_channels": 1})
    with pytest.raises(CheckpointError, match="name: Field required"):
        load_checkpoint(saved)
    _rewrite(saved, state_dict=None)
    with pytest.raises(CheckpointError, match="lacks state_dict"):
        load_checkpoint(saved)


def test_heads_are_dropped_where_the_network_has_none(checkpoint):
    bare = replace(checkpoint.network, deep_supervision=False)
    network = build(bare).eval()
    load_weights(network, bare, checkpoint.state_dict)
    image = torch.randn(1, 1, 16, 16, 32)
    assert torch.equal(network(image), build_network(checkpoint)(image))


def test_missing_heads_stay_fresh_and_are_noted(checkpoint, caplog):
    bare = build(replace(checkpoint.network, deep_supervision=False))
    with caplog.at_level(logging.INFO, "mednext_cli"):
        load_weights(build(checkpoint.network), checkpoint.network, bare.state_dict())
    assert "fresh" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("stem.weight"), "stem.weight is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "extra is not known"),
        (lambda state: state.update({"stem.bias": torch.zeros(9)}), r"stem.bias has shape \(9,\)"),
        (lambda state: state.pop("heads.2.weight"), "heads.2.weight is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(checkpoint, change, message):
    state = dict(checkpoint.state_dict)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        build_network(replace(checkpoint, state_dict=state))


def test_a_network_of_a_package_that_is_not_there_is_named(checkpoint):
    with pytest.raises(PluginError, match="segmamba"):
        replace(checkpoint.network, name="segmamba")
