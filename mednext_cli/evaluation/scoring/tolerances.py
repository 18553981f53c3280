"""Tolerances of the surface Dice as users write them: one for all regions, or one a region."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from mednext_cli.foundation.errors import SettingsError, nearest


def read_tolerances(words: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """The tolerance of all regions (or None) and those of some, mm.

    Args:
        words: "2" (mm, all regions) or "tumour=2" (one region) each.

    Raises:
        SettingsError: not a number from 0, or said twice.
    """
    found: dict[str, float] = {}
    for word in words:
        region, _, number = word.rpartition("=")
        if region in found:
            raise SettingsError(f"--tolerance twice for {region or 'all regions'}", "Drop one.")
        found[region] = _number(number, word)
    return found.pop("", None), found


def check_tolerances(tolerances_mm: Iterable[float]) -> None:
    """Raise `SettingsError` unless all are finite numbers from 0."""
    for tolerance in tolerances_mm:
        if not (isfinite(tolerance) and tolerance >= 0):
            raise SettingsError(f"a tolerance of {tolerance} mm", "Give a number from 0.")


def check_regions(tolerances_mm: Mapping[str, float], regions: Iterable[str]) -> None:
    """Raise `SettingsError` for a tolerance of a region that is not scored."""
    known = dict.fromkeys(regions)
    for region in tolerances_mm:
        if region not in known:
            raise SettingsError(
                f"--tolerance for {region}, which is no region", nearest(region, known)
            )


def _number(text: str, word: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(
            f"--tolerance {word}", "Give mm (2), or a region and mm (tumour=2)."
        ) from error
