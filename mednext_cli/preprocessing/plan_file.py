"""A plan written down, edited, and passed back."""

import math
from pathlib import Path

from pydantic import ValidationError

from mednext_cli.datasets.dataset import LabelSet
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.preprocessing.plan import DIVISOR, Plan
from mednext_cli.preprocessing.spacing import LARGEST_MM, SMALLEST_MM

_FACTS = ("dataset", "layout", "channels", "labels", "ignore")  # of the data, not to be decided


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
    plan = _validated(path)
    for problem in (*_foreign(plan, planned), *_impossible(plan)):
        raise SettingsError(f"--plan {path}: {problem}", "Correct that entry of the plan.")
    return plan


def read_plan_labels(path: Path) -> LabelSet:
    """What label values mean by a plan, whatever dataset it is of.

    Raises:
        SettingsError: unreadable, or a value that cannot be; names the entry.
    """
    plan = _validated(path)
    for problem in _impossible_regions(plan):
        raise SettingsError(f"--plan {path}: {problem}", "Correct that entry of the plan.")
    return plan.label_set


def _validated(path: Path) -> Plan:
    try:
        return Plan.model_validate(read_json(path))
    except DatasetError as error:
        raise SettingsError(f"--plan: {error.message}", error.remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(
            f"--plan {path}: {place}: {first['msg']}",
            "Correct it, or write a fresh plan with --dry-run --write-plan FILE.",
        ) from error


def _foreign(plan: Plan, planned: Plan) -> list[str]:
    pairs = [(name, getattr(plan, name), getattr(planned, name)) for name in _FACTS]
    return [
        f"{name} is {given}, the dataset has {true}" for name, given, true in pairs if given != true
    ]


def _impossible(plan: Plan) -> list[str]:
    """What the types alone do not tell."""
    problems = []
    if any(length % DIVISOR for length in plan.patch_voxels):
        problems.append(f"patch_voxels {plan.patch_voxels} are not multiples of {DIVISOR}")
    if max(plan.patch_voxels) == DIVISOR:
        problems.append(f"patch_voxels {plan.patch_voxels} need {2 * DIVISOR} along one axis")
    if not all(SMALLEST_MM <= length <= LARGEST_MM for length in plan.spacing_mm):
        problems.append(f"spacing_mm {plan.spacing_mm} are not {SMALLEST_MM:g} to {LARGEST_MM:g}")
    return [*problems, *_impossible_normalisation(plan), *_impossible_regions(plan)]


def _impossible_normalisation(plan: Plan) -> list[str]:
    problems = []
    if len(plan.normalisation) != len(plan.channels):
        problems.append(
            f"normalisation has {len(plan.normalisation)} entries, "
            f"there are {len(plan.channels)} channels"
        )
    for index, channel in enumerate(plan.normalisation):
        if channel.scheme == "ct" and not (channel.lower < channel.upper and channel.std > 0):
            problems.append(f"normalisation.{index} needs lower < upper and std > 0")
        numbers = (channel.lower, channel.upper, channel.mean, channel.std)
        if not all(map(math.isfinite, numbers)):
            problems.append(f"normalisation.{index} holds a value that is not a number")
    return problems


def _impossible_regions(plan: Plan) -> list[str]:
    problems = []
    known = set(plan.labels.values())
    for name, values in plan.regions.items():
        if not values or not set(values) <= known:
            problems.append(f"regions.{name} {values} are not labels of the dataset")
    if plan.region_training and len(plan.region_values) != len(plan.regions):
        problems.append("region_values need one value for each region")
    if plan.region_training and not set(plan.region_values) <= known:
        problems.append(f"region_values {plan.region_values} are not labels of the dataset")
    if not plan.regions:
        problems.append("regions are none")
    return problems
