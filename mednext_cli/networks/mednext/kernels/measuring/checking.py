"""Whether a candidate is as right as PyTorch's own operators in the same precision."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from mednext_cli.networks.mednext.kernels.measuring.trials import Errors

_FACTOR = 2.0  # more than that of stock's own error is more than another order of rounding
_FLOOR = 1e-5  # of float32, whose sums in another order differ by so much themselves
_ROUNDINGS = 10.0  # of the image in float32, to which a chain's own roundings add up


def relative_errors(found: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> Errors:
    """Relative L2 distance of each quantity; infinite where a value is not finite."""
    return {name: _distance(found[name], expected) for name, expected in reference.items()}


def _distance(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return math.inf
    difference = torch.linalg.vector_norm(found.to(expected.dtype) - expected)
    distance = float(difference / torch.linalg.vector_norm(expected).clamp(min=1e-30))
    return distance if math.isfinite(distance) else math.inf


def own_errors(stock: Iterable[Errors], rounding: Errors) -> Errors:
    """PyTorch's own error of each quantity: the smallest of its memory formats.

    So a library that is wrong in one of them is not the measure of the others.

    Args:
        stock: of PyTorch's own operators.
        rounding: what another rounding of the image changes. Stock may be the reference itself,
            which is no more exact than this.
    """
    listed = list(stock)
    names = listed[0] if listed else ()
    return {
        name: max(min(errors[name] for errors in listed), _ROUNDINGS * rounding[name])
        for name in names
    }


def fault(errors: Errors, own: Errors) -> str:
    """What of a candidate is too far from the reference; "" where nothing is.

    Args:
        errors: of the candidate.
        own: of PyTorch's own operators; empty where none of them ran.
    """
    if not own:
        return "nothing to compare with: PyTorch's own operators did not run"
    for name, error in errors.items():
        if not error <= max(_FACTOR * own[name], _FLOOR):
            return f"{name} deviates by {error:.2g}, PyTorch's own by {own[name]:.2g}"
    return ""
