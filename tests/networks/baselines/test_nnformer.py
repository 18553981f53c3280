"""nnFormer against the outputs of its published code."""

import pytest
import torch

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.baselines.nnformer.windows import fitted_windows, position_rows
from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.checkpoint import Checkpoint, build_network
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.published import export_weights, import_weights
from mednext_cli.networks.spec import describe_network
from mednext_cli.networks.weight_files import read_weights
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.settings.recipe import ModelSettings
from tests.networks.baselines.references import assert_matches, assert_round_trip, load_reference

_FILES = [("nnformer", (32, 64, 64)), ("nnformer_tumour", (64, 64, 64))]
_SMALL = {"embed_dim": 12, "depths": (2, 1, 1, 1)}


@pytest.mark.parametrize(("name", "patch"), _FILES)
def test_outputs_are_the_published_ones(name, patch):
    reference = load_reference(name, "nnformer", {"patch_voxels": patch})
    with torch.no_grad():
        outputs = run_all_heads(reference.network, reference.image, reference.spec)
        assert_matches(outputs, reference.outputs, tolerance=2e-4)
        assert torch.equal(reference.network(reference.image), outputs[0])


@pytest.mark.parametrize(("name", "patch"), _FILES)
def test_weights_go_in_and_out_unchanged(name, patch, tmp_path):
    said = {"patch_voxels": list(patch)}
    assert_round_trip(name, "nnformer", said, tmp_path, beside=("relative_position_index",))


def test_tables_of_indices_are_written_for_the_published_network(tmp_path):
    path, _ = _weights(tmp_path)
    written = read_weights(path)
    tables = {name: rows for name, rows in written.items() if name.endswith("position_index")}
    assert len(tables) == sum(name.endswith("bias_table") for name in written)
    assert {rows.shape for rows in tables.values()} == {(4**3, 4**3), (8**3, 8**3)}
    first = tables["model_down.layers.0.blocks.0.attn.relative_position_index"]
    assert torch.equal(first, position_rows(4, distinct=False))


def _weights(tmp_path, **settings):
    """Published weights of a small network, and the checkpoint they are of."""
    spec = describe_network("nnformer", 2, 3, **_SMALL, **settings)
    checkpoint = Checkpoint(spec, build_plain(spec).state_dict())
    export_weights(tmp_path / "weights.pt", checkpoint)
    return tmp_path / "weights.pt", checkpoint


@pytest.mark.parametrize("variant", ["tumour", "synapse"])
def test_the_network_is_read_off_its_weights(tmp_path, variant):
    path, checkpoint = _weights(tmp_path, variant=variant)
    imported = import_weights(path, "nnformer")
    assert imported.network == checkpoint.network
    for name, value in checkpoint.state_dict.items():
        assert torch.equal(imported.state_dict[name], value), name


def test_what_the_weights_contradict_is_refused(tmp_path):
    path, _ = _weights(tmp_path)
    with pytest.raises(CheckpointError, match="embed_dim 12, not 24"):
        import_weights(path, "nnformer", {"embed_dim": 24})
    with pytest.raises(CheckpointError, match="do not fit"):
        import_weights(path, "nnformer", {"patch_voxels": (32, 32, 32)})
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not weights of nnformer as published"):
        import_weights(path, "nnformer")


def test_distinct_positions_cannot_be_exported(tmp_path):
    with pytest.raises(CheckpointError, match="no distinct rows"):
        _weights(tmp_path, positions="distinct")


@pytest.mark.parametrize(
    ("settings", "patch", "deep", "parameters", "multiply_adds"),
    [
        ({}, (128, 128, 128), False, 37_664_288, 64_896_368_640),
        ({"variant": "synapse"}, (64, 128, 128), True, 150_054_210, 212_714_127_360),
        (
            {"variant": "synapse", "patch_voxels": (96, 96, 96)},
            (96, 96, 96),
            False,
            149_320_934,
            177_936_445_440,
        ),
    ],
)
def test_full_size_counts_are_exact(settings, patch, deep, parameters, multiply_adds):
    spec = describe_network("nnformer", 1, 14, deep, **settings)
    counted = count_complexity(spec, patch)
    assert (counted.parameters, counted.multiply_adds) == (parameters, multiply_adds)


def test_only_the_one_for_synapse_has_several_heads_by_default():
    assert not describe_network("nnformer", 1, 2).deep_supervision
    assert describe_network("nnformer", 1, 2, variant="synapse").deep_supervision


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"embed_dim": 100}, "heads do not divide"),
        ({"embed_dim": 95}, "multiple of 2"),
        ({"heads": (3, 6, 12)}, "heads"),
        ({"variant": "acdc"}, "variant"),
        ({"patch_voxels": (16, 128, 128)}, "divisible by 32"),
        ({"drop_path": 1.0}, "less than 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, problem):
    with pytest.raises(SettingsError, match=problem) as refused:
        describe_network("nnformer", 1, 2, **settings)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("variant", "asked", "fitted"),
    [("tumour", (40, 100, 130), (32, 96, 128)), ("synapse", (40, 100, 130), (32, 96, 128))],
)
def test_it_is_tied_to_the_planned_patch(variant, asked, fitted):
    model = ModelSettings.model_validate(
        {"network": "nnformer", "nnformer": {"variant": variant, **_SMALL}}
    )
    chosen = choose_network(model)
    planned = chosen.planned(asked)
    assert planned.spec(1, 2).patch_rule.fixed == fitted
    assert planned.planned((128, 128, 128)) == planned
    network = build_plain(planned.spec(1, 2))
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *fitted)).shape == (1, 2, *fitted)
    with pytest.raises(SettingsError, match="patch"):
        network(torch.zeros(1, 1, 64, 64, 64))


def test_labels_tell_networks_apart():
    labels = {
        choose_network(
            ModelSettings.model_validate({"network": "nnformer", "nnformer": table})
        ).label
        for table in ({}, {"variant": "synapse"}, {"embed_dim": 48}, {"positions": "distinct"})
    }
    assert len(labels) == 4
    assert min(labels, key=len).startswith("nnformer")


def test_windows_of_any_grid_are_cut_and_joined_again():
    for grid in [(8, 8, 8), (5, 9, 6), (4, 6, 4)]:
        windows = fitted_windows(grid, 4, moved=True)
        tokens = torch.randn(2, *grid, 6)
        cut = windows.cut(windows.lay(tokens), heads=3)
        assert cut.shape == (2 * windows.count, 3, 64, 2)
        assert torch.equal(windows.lift(windows.join(cut)), tokens)


def test_windows_never_move_where_one_spans_an_axis():
    assert fitted_windows((4, 6, 4), 4, moved=True).shift == 0
    assert fitted_windows((2, 6, 4), 4, moved=True).edge == 2
    assert fitted_windows((5, 6, 5), 4, moved=True).shift == 2


def test_moved_windows_keep_what_was_far_apart_apart():
    """One window an axis of 8: its tokens attend to those of their own former neighbourhood."""
    regions = fitted_windows((8, 8, 8), 4, moved=True).regions()
    assert regions.shape == (8, 64)
    assert [len(set(window.tolist())) for window in regions] == [1, 2, 2, 4, 2, 4, 4, 8]


def test_as_published_positions_share_rows_unless_they_are_told_apart():
    assert len(position_rows(4, distinct=False).unique()) == 115
    assert len(position_rows(8, distinct=False).unique()) == 547
    distinct = position_rows(4, distinct=True)
    assert len(distinct.unique()) == 7**3
    assert distinct.max() == 7**3 - 1


def test_distinct_positions_change_the_numbers():
    torch.manual_seed(0)
    settings = {**_SMALL, "patch_voxels": (32, 32, 32)}
    published = describe_network("nnformer", 1, 2, **settings)
    checkpoint = Checkpoint(published, build_plain(published).state_dict())
    distinct = describe_network("nnformer", 1, 2, positions="distinct", **settings)
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        outputs = [
            build_network(Checkpoint(spec, checkpoint.state_dict))(image)
            for spec in (published, distinct)
        ]
    assert not torch.allclose(*outputs)


def test_paths_are_dropped_in_training_only():
    torch.manual_seed(0)
    spec = describe_network("nnformer", 1, 2, drop_path=0.9, patch_voxels=(32, 32, 32), **_SMALL)
    network, image = build_plain(spec), torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network.train()(image), network(image))
        assert torch.equal(network.eval()(image), network(image))
