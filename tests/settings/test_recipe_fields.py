"""The keys of a recipe, and which of them may change in a run that has begun."""

from mednext_cli.settings.recipe import Recipe, may_change, recipe_fields
from mednext_cli.settings.sections import MayChange


def test_known_keys_are_dotted() -> None:
    keys = recipe_fields()
    assert {"training.epochs", "model.network", "augmentation.mirror_axes"} <= keys.keys()
    assert "description" in keys
    assert Recipe().model_dump().keys() == {key.partition(".")[0] for key in keys}


def test_a_key_says_itself_whether_it_may_change_in_a_run_that_has_begun() -> None:
    """A key that says nothing may not: a new one is not forgotten."""
    assert {key for key in recipe_fields() if may_change(key)} == {
        "description",
        "init.checkpoint",
        "init.upkern",
        "model.checkpointing",
        "model.operators",
        "training.batch_size",
        "training.patch_voxels",
        "training.epochs",
        "training.workers",
        "training.checkpoint_minutes",
        "training.cuda_graph",
        "augmentation.device",
        "inference.overlap",
        "inference.mirror",
        "callbacks.names",
    }
    reasons = [
        mark.why
        for field in recipe_fields().values()
        for mark in field.metadata
        if isinstance(mark, MayChange)
    ]
    assert len(reasons) == sum(map(may_change, recipe_fields()))
    assert all(reasons)
