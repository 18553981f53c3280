"""A plan written down, edited, and passed back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.foundation.names import shown
from mednext_cli.networks.choice import default_patch_rule
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.migrations import plan_from_1
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.reading import ImpossibleValueError, read_value

# Of the data, not to be decided.
_FACTS = ("dataset", "layout", "channels")
_LABEL_FACTS = ("names", "ignore")
_CORRECT = "Correct that entry, or write a fresh plan with --dry-run --write-plan FILE."


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
    if problem := default_patch_rule().problem(plan.patch_voxels):
        raise SettingsError(f"--plan {path}: patch_voxels: {problem}", _CORRECT)
    if plan.slice_axis:
        what = "slice_axis: networks of slices choose it when they are trained"
        raise SettingsError(f"--plan {path}: {what}", "Leave it out, or at 0.")
    return plan


def read_plan_labels(path: Path) -> LabelSet:
    """What label values mean by a plan, whatever dataset it is of.

    Raises:
        SettingsError: unreadable, or a value that cannot be; names the entry.
    """
    return _validated(_read(path), path).label_set


def _read(path: Path) -> object:
    try:
        return plan_from_1(read_json(path))
    except DatasetError as error:
        raise SettingsError(f"--plan: {error.message}", error.remedy) from error


def _validated(content: object, path: Path) -> Plan:
    try:
        return read_value(Plan, content)
    except ImpossibleValueError as error:
        raise SettingsError(f"--plan {path}: {error}", _CORRECT) from error


def _foreign(content: object, planned: Plan) -> list[str]:
    """What the file says of the dataset that is not so."""
    if not isinstance(content, dict):
        return ["holds no JSON object"]
    true = planned.model_dump(mode="json")
    labels = content.get("label_set")
    problems = _differing(content, true, _FACTS)
    if isinstance(labels, dict):
        problems += _differing(labels, true["label_set"], _LABEL_FACTS, "label_set.")
    return problems


def _differing(
    found: Mapping[str, Any], true: Mapping[str, Any], names: Sequence[str], where: str = ""
) -> list[str]:
    return [
        f"{where}{name} is {shown(found[name])}, the dataset has {shown(true[name])}"
        for name in names
        if name in found and found[name] != true[name]
    ]
