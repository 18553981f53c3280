"""What a checkpoint says about prediction."""

from dataclasses import replace
from pathlib import Path

from mednext_cli.inference.models import load_models
from mednext_cli.networks.checkpoint import load_checkpoint, save_checkpoint


def test_without_a_recipe_nothing_is_mirrored(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "bare.pt"
    save_checkpoint(path, replace(load_checkpoint(model), recipe=None))
    [loaded] = load_models([path])
    assert (loaded.mirrored, loaded.overlap) == ((), 0.5)
