"""What the raw cases of a dataset look like, all together; kept in the cache."""

from typing import Annotated

from pydantic import Field

from mednext_cli.settings.values import MOST_CHANNELS, Count, Frozen, Name, NotNegative, Number

Triple = tuple[NotNegative, NotNegative, NotNegative]


class Fingerprint(Frozen):
    """All cases together.

    Attributes:
        cases: how many.
        median_shape: (D, H, W) of the cropped scans, voxels.
        median_spacing_mm: (D, H, W).
        cropping_ratio: median of cropped over whole voxels.
        intensities: of each channel's foreground, see `merge_intensities`; empty without any.
    """

    cases: Count
    median_shape: Triple
    median_spacing_mm: Triple
    cropping_ratio: NotNegative
    intensities: Annotated[tuple[dict[Name, Number], ...], Field(max_length=MOST_CHANNELS)]
