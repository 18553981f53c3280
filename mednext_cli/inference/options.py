"""What options of prediction say, read and checked without PyTorch."""

import re
from collections.abc import Sequence
from math import inf
from numbers import Real
from typing import Any

from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.settings.mirror_axes import AXES, Axis

FOLD = re.compile(r"fold([0-9]+|all)")
"""Name of a run folder."""
Folds = tuple[str, ...]
"""Numbers of folds, or "all" for the run that was trained on every case."""


def read_folds(text: str) -> Folds:
    """Folds as ``--folds`` gives them: numbers, or all, with commas between.

    Raises:
        SettingsError: it is something else.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(FOLD.fullmatch(f"fold{name}") for name in names):
        raise SettingsError(f"--folds {text!r} names no folds", "Give numbers: --folds 0,2.")
    return tuple(name if name == "all" else str(int(name)) for name in names)


def read_mirror_axes(text: str) -> tuple[Axis, ...]:
    """Axes as ``--mirror-axes`` gives them, with commas between.

    Raises:
        SettingsError: there is no such axis.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    check_axes(names or [text])
    return tuple(axis for axis in AXES if axis in names)


def check_axes(names: Sequence[str]) -> None:
    """Raise `SettingsError` unless these are axes to mirror along, at least one."""
    unknown = [name for name in names if name not in AXES]
    if unknown or not names:
        named = str(unknown[0]) if unknown else ""
        raise SettingsError(
            f"--mirror-axes {named}: there is no such axis", nearest(named, list(AXES))
        )


def read_member_weights(text: str) -> tuple[float, ...]:
    """Weights as ``--weights`` gives them: numbers above 0, with commas between.

    Raises:
        SettingsError: they are something else.
    """
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        weights = ()
    if not _can_weigh(weights):
        raise SettingsError(f"--weights {text!r} are no weights", "Like --weights 2,1.")
    return weights


def check_member_weights(weights: Sequence[float] | None, count: int) -> None:
    """Raise `SettingsError` unless there is one above 0 for each of so many that are averaged."""
    if weights is None:
        return
    if not _can_weigh(weights):
        raise SettingsError(f"--weights {weights!r} are no weights", "Like --weights 2,1.")
    if len(weights) != count:
        raise SettingsError(
            f"--weights has {len(weights)} numbers for {count} to average", "Give one for each."
        )


def _can_weigh(weights: Sequence[Any]) -> bool:
    numbers = all(isinstance(weight, Real) for weight in weights)
    return numbers and bool(weights) and all(0 < one < inf for one in (*weights, sum(weights)))
