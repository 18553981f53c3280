"""A plan written down, edited, and passed back."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mednext_cli.foundation.errors import CheckpointError, DatasetError, SettingsError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.foundation.names import shown
from mednext_cli.networks.architecture import Architecture
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import DIVISOR, Plan
from mednext_cli.settings.problems import first_problem

_FACTS = ("dataset", "layout", "channels", "labels", "ignore")  # of the data, not to be decided
_CORRECT = "Correct that entry, or write a fresh plan with --dry-run --write-plan FILE."
_OTHER_PLAN = "Take another copy of it, or use the version of mednext that wrote it."


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan as JSON.

    Raises:
        StorageError: the disk refuses.
    """
    write_json(path, plan.model_dump(mode="json"))


def read_plan(path: Path, planned: Plan) -> Plan:
    """Read a plan and see that it fits the dataset.

    Args:
        path: the file.
        planned: what would be done without it; tells what the dataset is.

    Raises:
        SettingsError: unreadable, a value that cannot be, or of another dataset; names the entry.
    """
    content = _read(path)
    for problem in _foreign(content, planned):
        raise SettingsError(f"--plan {path}: {problem}", _CORRECT)
    plan = _validated(content, path)
    if max(plan.patch_voxels) == DIVISOR:
        raise SettingsError(
            f"--plan {path}: patch_voxels {plan.patch_voxels} need {2 * DIVISOR} along one axis",
            _CORRECT,
        )
    return plan


def read_plan_labels(path: Path) -> LabelSet:
    """What label values mean by a plan, whatever dataset it is of.

    Raises:
        SettingsError: unreadable, or a value that cannot be; names the entry.
    """
    return _validated(_read(path), path).label_set


def _read(path: Path) -> Any:  # noqa: ANN401 - read from a file
    try:
        return read_json(path)
    except DatasetError as error:
        raise SettingsError(f"--plan: {error.message}", error.remedy) from error


def _validated(content: Any, path: Path) -> Plan:  # noqa: ANN401 - read from a file
    try:
        return Plan.model_validate(content)
    except ValidationError as error:
        raise SettingsError(f"--plan {path}: {first_problem(error)}", _CORRECT) from error


def _foreign(content: Any, planned: Plan) -> list[str]:  # noqa: ANN401 - read from a file
    """What the file says of the dataset that is not so."""
    if not isinstance(content, dict):
        return ["holds no JSON object"]
    true = planned.model_dump(mode="json")
    return [
        f"{name} is {shown(content[name])}, the dataset has {shown(true[name])}"
        for name in _FACTS
        if name in content and content[name] != true[name]
    ]


def saved_plan(values: object, architecture: Architecture, source: Path) -> Plan:
    """The plan that a checkpoint holds, if it can be and fits the checkpoint's network.

    Args:
        values: its JSON.
        architecture: of the network.
        source: the checkpoint file, for messages.

    Raises:
        CheckpointError: it contradicts itself or the network, or is of another version.
    """
    try:
        plan = Plan.model_validate(values)
    except ValidationError as error:
        raise CheckpointError(
            f"{source} holds a plan that cannot be: {first_problem(error)}", _OTHER_PLAN
        ) from error
    pairs = (
        ("channels", len(plan.channels), architecture.in_channels),
        ("outputs", plan.output_channels, architecture.out_channels),
    )
    for what, planned, built in pairs:
        if planned != built:
            raise CheckpointError(
                f"{source} contradicts itself: its plan has {planned} {what}, its network {built}",
                _OTHER_PLAN,
            )
    return plan
