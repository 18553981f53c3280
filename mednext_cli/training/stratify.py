"""Folds that keep a patient's scans together, and that share the classes out."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mednext_cli.foundation.errors import SettingsError

SEED = 12345  # that of nnU-Net's folds


@dataclass
class Patient:
    """Cases that stay in one fold.

    Attributes:
        cases: ids.
        classes: class indices that any of them has.
    """

    cases: list[str] = field(default_factory=list)
    classes: set[int] = field(default_factory=set)


def group_cases(
    classes: Mapping[str, Iterable[int]], group_regex: str | None
) -> dict[str, Patient]:
    """The cases by what the expression finds in their ids; without one each is by itself.

    Args:
        classes: class indices by case id.
        group_regex: its first group names the patient, or all that it finds where it has none.

    Raises:
        SettingsError: it finds nothing in an id.
    """
    patients: dict[str, Patient] = {}
    for case_id in sorted(classes):
        patient = patients.setdefault(_patient_of(case_id, group_regex), Patient())
        patient.cases.append(case_id)
        patient.classes.update(classes[case_id])
    return patients


def _patient_of(case_id: str, group_regex: str | None) -> str:
    if group_regex is None:
        return case_id
    found = re.search(group_regex, case_id)
    name = found and found[1 if found.re.groups else 0]
    if not name:
        raise SettingsError(
            f"training.group_regex {group_regex!r} finds no patient in {case_id}",
            "Like --set 'training.group_regex=^[^_]+' for what comes before the first underscore.",
        )
    return str(name)


def stratify(patients: Mapping[str, Patient], folds: int) -> list[list[str]]:
    """Patients shared out so that every fold has about as many with each class.

    Again and again the class that fewest of those left have is shared out, each patient to the fold
    that lacks it most, of equal ones to that with the most room.

    Source: iterative stratification, Sechidis et al., ECML PKDD 2011.

    Returns:
        The patients of each fold.
    """
    names = sorted(patients)
    left = [names[index] for index in np.random.RandomState(SEED).permutation(len(names))]
    total = sum(len(patient.cases) for patient in patients.values())
    room = np.full(folds, total / folds)
    wanted = {name: np.full(folds, count / folds) for name, count in _count(patients, left).items()}
    made: list[list[str]] = [[] for _ in range(folds)]
    while left:
        counts = _count(patients, left)
        rarest = min(counts, key=lambda name: (counts[name], name), default=None)
        chosen = [one for one in left if rarest is None or rarest in patients[one].classes]
        for name in chosen:
            lack = room if rarest is None else wanted[rarest]
            fold = max(range(folds), key=lambda index: (lack[index], room[index], -index))
            made[fold].append(name)
            room[fold] -= len(patients[name].cases)
            for one in patients[name].classes:
                wanted[one][fold] -= 1
        left = [one for one in left if one not in set(chosen)]
    return made


def _count(patients: Mapping[str, Patient], names: Sequence[str]) -> dict[int, int]:
    """How many of these patients have each class."""
    counts: dict[int, int] = {}
    for name in names:
        for one in patients[name].classes:
            counts[one] = counts.get(one, 0) + 1
    return counts
