"""Weights of a checkpoint that are not those of the network to train."""

from dataclasses import replace
from pathlib import Path

import pytest

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint, save_checkpoint
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import ModelSettings, Recipe
from mednext_cli.training.initialise import Start, initialise
from tests.networks.small_networks import small_spec


@pytest.mark.parametrize(
    ("name", "recipe", "remedy"),
    [
        ("transbts", None, "--set model.transbts.KEY=VALUE"),
        ("transbts", Recipe(model=ModelSettings(network="transbts")), "recipe.toml"),
        ("transunet", None, "--network transbts"),
    ],
)
def test_what_to_do_depends_on_where_they_come_from(
    name: str, recipe: Recipe | None, remedy: str, tmp_path: Path
) -> None:
    """Imported weights have no run folder with a recipe in it."""
    theirs, own = small_spec("transbts"), small_spec(name)
    if name == "transbts":
        own = replace(own, settings=theirs.settings.model_copy(update={"heads": 2}))
    path = tmp_path / "weights.pt"
    save_checkpoint(path, Checkpoint(theirs, build_plain(theirs).state_dict(), recipe=recipe))
    with pytest.raises(CheckpointError, match="has another network") as caught:
        initialise(build_plain(own), own, Start(path, "0"), Origin())
    assert remedy in caught.value.remedy
