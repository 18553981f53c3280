"""Axes along which patches and tiles may be mirrored, named by the patient."""

from typing import Annotated, Literal

from pydantic import AfterValidator

Axis = Literal["superior_inferior", "anterior_posterior", "left_right"]
AXES: tuple[Axis, ...] = ("superior_inferior", "anterior_posterior", "left_right")


def _named_once(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    if len(set(axes)) != len(axes):
        raise ValueError("an axis is named twice")
    return axes


MirrorAxes = Annotated[tuple[Axis, ...], AfterValidator(_named_once)]
