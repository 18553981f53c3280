"""Published weights in and out: names, shapes, files."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.mednext.official import from_official, infer_network, to_official
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.weight_files import read_weights
from tests.networks.made import build, mednext
from tests.networks.mednext.references import FOLDER, NETWORKS
from tests.places import COMMITTED


def _checkpoint(size="S", kernel=3, **settings):
    description = mednext(size, kernel, 2, 3, 2, **settings)
    return Checkpoint(description, build(description).state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("source", NETWORKS)
def test_a_round_trip_is_exact(source, tmp_path):
    _assert_round_trip(source, tmp_path / "weights.npz")


@pytest.mark.parametrize(("name", "suffix"), [("S_k3_grn", ".safetensors"), ("S_k3", ".pt")])
def test_a_round_trip_through_other_files_is_exact(tmp_path, name, suffix):
    _assert_round_trip(COMMITTED / FOLDER / f"{name}.npz", tmp_path / f"weights{suffix}")


def _assert_round_trip(source, target):
    export_weights(target, import_weights(source))
    original, written = read_weights(source), read_weights(target)
    assert written.keys() == original.keys()
    assert written.pop("dummy_tensor").shape == original.pop("dummy_tensor").shape == (1,)
    assert all(torch.equal(written[key], original[key]) for key in original)


@pytest.mark.parametrize("size", VARIANTS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dimensions": 2},
        {"deep_supervision": False},
        {"grn": True},
        {"residual": False, "resampling": "inverted"},
    ],
)
def test_the_network_is_read_off_the_shapes(size, settings):
    checkpoint = _checkpoint(size, 5, **settings)
    weights = to_official(checkpoint.network.settings, checkpoint.state_dict)
    assert infer_network(weights) == checkpoint.network


def test_separate_kernels_are_read_off_the_shapes():
    checkpoint = _checkpoint(kernel=None, encoder_kernel=3, decoder_kernel=5)
    weights = to_official(checkpoint.network.settings, checkpoint.state_dict)
    assert infer_network(weights).kernels == (3, 5)


def test_what_shapes_do_not_tell_can_be_said():
    checkpoint = _checkpoint(norm="layer", residual=False)
    weights = to_official(checkpoint.network.settings, checkpoint.state_dict)
    assert infer_network(weights, "layer", residual=False) == checkpoint.network


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"grn": True, "grn_in_first_downsampling": True}, "GRN in the first downsampling"),
        ({"resampling": "plain"}, "resampling = plain"),
        ({"mixer": "window_attention", "window": 2}, "mixer = window_attention"),
        ({"mixer": "bias"}, "mixer = bias"),
    ],
)
def test_what_the_published_code_has_not_cannot_be_exported(settings, says):
    checkpoint = _checkpoint(**settings)
    with pytest.raises(CheckpointError, match=says):
        to_official(checkpoint.network.settings, checkpoint.state_dict)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_weights_that_are_not_whole_are_refused(change):
    checkpoint = _checkpoint()
    weights = to_official(checkpoint.network.settings, checkpoint.state_dict)
    if change == "missing":
        del weights["dec_block_2.1.conv3.bias"]
    elif change == "surplus":
        weights["enc_block_0.0.attention.weight"] = torch.zeros(1)
    else:
        weights["up_1.conv2.weight"] = torch.zeros(3, 4, 1, 1, 1)
    with pytest.raises(CheckpointError):
        from_official(infer_network(weights), weights)


@pytest.mark.parametrize("wrap", ["nnunet", "distributed"])
def test_the_usual_wrappings_are_taken_off(tmp_path, wrap):
    checkpoint = _checkpoint()
    weights = to_official(checkpoint.network.settings, checkpoint.state_dict)
    path = tmp_path / "model_final_checkpoint.model"
    if wrap == "nnunet":
        losses = ([np.float64(0.5), np.float32(0.25)], [np.float64(-0.75)])
        content = {"epoch": 1000, "state_dict": weights, "lr_scheduler_state_dict": None}
        torch.save({**content, "plot_stuff": losses, "best_stuff": (np.float64(1), None)}, path)
    else:
        torch.save({f"module.{name}": value for name, value in weights.items()}, path)
    imported = import_weights(path)
    assert imported.network == checkpoint.network
    for name, value in checkpoint.state_dict.items():
        assert torch.equal(imported.state_dict[name], value), name


def test_a_wrong_expectation_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    export_weights(path, _checkpoint())
    with pytest.raises(CheckpointError, match="are of size S, not B"):
        import_weights(path, said={"size": "B"})
    with pytest.raises(CheckpointError, match="have kernel 3, not 5"):
        import_weights(path, said={"kernel": 5})
    with pytest.raises(SettingsError, match="size: Input should be"):
        import_weights(path, said={"size": "XXL"})
    assert import_weights(path, said={"size": "S", "kernel": 3}).network.settings.base_channels == 2


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_files_that_are_not_what_they_say_are_named(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(CheckpointError, match="does not exist"):
        read_weights(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="weights"):
        read_weights(path)


def test_an_npz_with_a_pickle_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, stem=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_weights(path)


def test_other_networks_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not weights of the published MedNeXt"):
        import_weights(path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        read_weights(tmp_path / "list.pt")


def test_an_unknown_suffix_writes_nothing(tmp_path):
    with pytest.raises(SettingsError, match="suffix"):
        export_weights(tmp_path / "weights.onnx", _checkpoint())
    assert list(tmp_path.iterdir()) == []
