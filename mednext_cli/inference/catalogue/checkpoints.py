"""Which checkpoint file is meant where a single one is needed."""

from pathlib import Path

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.inference.catalogue.names import resolve_model
from mednext_cli.inference.folds import find_checkpoints


def one_checkpoint(given: Path, option: str) -> Path:
    """The file itself, or that of a run folder or of a model by name.

    Args:
        given: a checkpoint, a run folder or a name of ``mednext models ls``.
        option: that gives it, for what is said.

    Raises:
        CheckpointError: there is none, or there are several.
        PluginError: the package of the model does not load.
    """
    path = resolve_model(given, option)
    if not path.is_dir():
        return path  # whoever reads it says what is wrong with it
    first, *others = find_checkpoints(path)
    if others:
        raise CheckpointError(
            f"{given} holds {len(others) + 1} networks, and {option} takes one",
            f"Give {option} {first.path}, say.",
        )
    return first.path
