"""The first weights of a run whose arm starts from another's run."""

from dataclasses import replace
from pathlib import Path

from mednext_cli.networks.checkpoint import load_checkpoint, save_checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.upkern import grow_to
from mednext_cli.settings.growth import Growth
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.run_folder import RunFolder, has_begun


def make_first_weights(
    recipe: Recipe, run: RunFolder, start: Path | None, growth: Growth, kept: Path
) -> Path | None:
    """The checkpoint that a run starts from; None where it starts from nothing or has begun.

    Where kernels are larger than those of the other run, UpKern makes them; the checkpoint with
    them is `kept` until the run is whole, since a run that was killed early asks for the same.

    Args:
        recipe: of the run.
        run: its folder.
        start: folder of the run that gives the first weights; None starts from nothing.
        growth: how a kernel becomes a larger one.
        kept: where the checkpoint with larger kernels goes.

    Raises:
        CheckpointError: the other run's network is another one by more than its kernels.
        StorageError: the disk refuses.
    """
    if start is None or has_begun(run):  # a run that has begun holds the weights
        return None
    last = RunFolder(start).last
    checkpoint = load_checkpoint(last)
    chosen = choose_network(recipe.model)
    ours = replace(checkpoint.network, name=chosen.family.name, settings=chosen.settings)
    if ours.kernels == checkpoint.network.kernels:
        return last
    if not kept.is_file():
        grown, _ = grow_to(checkpoint, ours, growth)
        save_checkpoint(kept, grown)
    return kept
