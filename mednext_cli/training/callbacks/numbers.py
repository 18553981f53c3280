"""Numbers as servers of curves take them."""

import math
from collections.abc import Mapping


def measured(row: Mapping[str, float]) -> dict[str, float]:
    """Those that were measured: without NaN and what is infinite."""
    return {name: float(value) for name, value in row.items() if math.isfinite(value)}
