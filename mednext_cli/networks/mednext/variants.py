"""The four published sizes as rows of numbers; everything that names a size reads this table."""

from collections.abc import Sequence
from dataclasses import dataclass

LEVELS = 4  # resolutions above the bottleneck
STAGES = 2 * LEVELS + 1  # encoder from full resolution down, bottleneck, decoder from the bottom up


@dataclass(frozen=True)
class Variant:
    """Expansion ratios and blocks of the nine stages (Table 1 right of the paper).

    Attributes:
        expansion: factor of the inverted bottleneck for each stage.
        blocks: blocks of each stage.
    """

    expansion: tuple[int, ...]
    blocks: tuple[int, ...]


VARIANTS: dict[str, Variant] = {
    "S": Variant((2,) * STAGES, (2,) * STAGES),
    "B": Variant((2, 3, 4, 4, 4, 4, 4, 3, 2), (2,) * STAGES),
    "M": Variant((2, 3, 4, 4, 4, 4, 4, 3, 2), (3, 4, 4, 4, 4, 4, 4, 4, 3)),
    "L": Variant((3, 4, 8, 8, 8, 8, 8, 4, 3), (3, 4, 8, 8, 8, 8, 8, 4, 3)),
}


def size_of(expansion: Sequence[int], blocks: Sequence[int]) -> str | None:
    """The name of the size with these expansion ratios and blocks; None if it has none."""
    asked = tuple(expansion), tuple(blocks)
    for size, variant in VARIANTS.items():
        if asked == (variant.expansion, variant.blocks):
            return size
    return None
