"""Which post-processing belongs to the models that predict."""

from collections.abc import Sequence
from pathlib import Path

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.postprocessing.steps import (
    FILE_NAME,
    Postprocessing,
    Step,
    load_postprocessing,
)
from mednext_cli.settings.labels import LabelSet

_CHOOSE = "Name one with --postprocess FILE, or add --no-postprocess."


def find_steps(
    models: Sequence[Path], labels: LabelSet, given: Path | None = None
) -> tuple[Step, ...]:
    """The steps to do on every label map; none where no model has any.

    Args:
        models: as they were given: checkpoints, run folders, folders of folds. What is stored in
            such a folder, or beside a checkpoint, belongs to it.
        labels: of the networks.
        given: a file, or a folder that holds one, instead.

    Raises:
        SettingsError: one cannot be read, was fitted for other labels, or belongs to some of the
            models only, or they have different ones.
    """
    if given is not None:
        return _load(given / FILE_NAME if given.is_dir() else given, labels).steps
    paths = [_beside(model) for model in dict.fromkeys(models)]
    there = [path for path in paths if path.is_file()]
    if not there:
        return ()
    found = [_load(path, labels).steps for path in there]
    if len(there) < len(paths) or any(steps != found[0] for steps in found):
        raise SettingsError(
            f"the models do not share their post-processing ({there[0]} is not that of all)",
            _CHOOSE,
        )
    return found[0]


def _beside(model: Path) -> Path:
    return (model if model.is_dir() else model.parent) / FILE_NAME


def _load(path: Path, labels: LabelSet) -> Postprocessing:
    found = load_postprocessing(path)
    found.check(labels, path)
    return found
