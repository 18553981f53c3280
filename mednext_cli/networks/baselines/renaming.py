"""Weights under other names: the published ones, or ours."""

from collections.abc import Mapping, Sequence

from torch import Tensor


def rename(weights: Mapping[str, Tensor], names: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """The same weights, the beginning of each name replaced.

    Args:
        weights: by name.
        names: how a name begins, and how it begins afterwards; the first that fits is taken, and
            names that none fits stay.
    """
    return {_renamed(name, names): value for name, value in weights.items()}


def _renamed(name: str, names: Sequence[tuple[str, str]]) -> str:
    for old, new in names:
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
