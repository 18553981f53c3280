"""What the raw cases of a dataset look like, all together; kept in the cache."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from mednext_cli.settings.mirror_axes import Axis
from mednext_cli.settings.values import MOST_CHANNELS, Count, Frozen, Name, NotNegative, Number

_NAMED = 3  # pairs of one line
Triple = tuple[NotNegative, NotNegative, NotNegative]


class Fingerprint(Frozen):
    """All cases together.

    Attributes:
        cases: how many.
        median_shape: (D, H, W) of the cropped scans, voxels.
        median_spacing_mm: (D, H, W).
        cropping_ratio: median of cropped over whole voxels.
        intensities: of each channel's foreground, see `merge_intensities`; empty without any.
        mirror_swaps: labels that mirroring about their common middle puts in each other's place in
            most cases, by axis; none by axes that leave all in place.
    """

    cases: Count
    median_shape: Triple
    median_spacing_mm: Triple
    cropping_ratio: NotNegative
    intensities: Annotated[tuple[dict[Name, Number], ...], Field(max_length=MOST_CHANNELS)]
    mirror_swaps: Annotated[dict[Axis, tuple[tuple[Name, Name], ...]], Field(default_factory=dict)]


def swaps_in_words(pairs: Sequence[tuple[str, str]]) -> str:
    """Like ``anterior and posterior in each other's place``."""
    named = ", ".join(f"{one} and {other}" for one, other in pairs[:_NAMED])
    more = f" and {len(pairs) - _NAMED} more pairs" if len(pairs) > _NAMED else ""
    return f"{named}{more} in each other's place"
