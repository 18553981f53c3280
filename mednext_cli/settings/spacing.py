"""The target spacing as users write it."""

from mednext_cli.foundation.errors import SettingsError

Spacing = tuple[float, float, float]
SMALLEST_MM, LARGEST_MM = 0.01, 100.0
_ROUNDING = 1e-6  # headers are of single precision, where 0.01 is 0.00999999978


def is_usable(length_mm: float) -> bool:
    """Whether voxels of that length can be a target; NaN is not."""
    return SMALLEST_MM * (1 - _ROUNDING) <= length_mm <= LARGEST_MM * (1 + _ROUNDING)


def parse_spacing(text: str) -> Spacing | None:
    """``1.0`` for isotropic, ``Z,Y,X`` for one value an axis, ``median`` (None).

    Returns:
        (D, H, W) in mm, or None for the dataset's median.

    Raises:
        SettingsError: anything else.
    """
    if text.strip() == "median":
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    values = values * 3 if len(values) == 1 else values
    if len(values) != 3 or not all(map(is_usable, values)):
        raise SettingsError(
            f"--spacing {text}: neither {SMALLEST_MM:g} to {LARGEST_MM:g} mm, nor Z,Y,X in mm, "
            "nor median",
            "Like --spacing 1.0, --spacing 3,0.8,0.8 or --spacing median.",
        )
    return values[0], values[1], values[2]
