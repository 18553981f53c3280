"""What travels from the cache to the network, and which samples it is made of."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Images (B, C, D, H, W), float32 or as cached, and class indices (B, D, H, W) uint8."""


class ReadSample(NamedTuple):
    """A sample before it is augmented, with all the chance that this will take.

    Attributes:
        image: (C, d, h, w) as cached, float16 or float32: what the patch needs of a case.
        label: (d, h, w) uint8 class indices.
        corner: the first voxel of both, counted from the first one of the patch, (D, H, W).
        seed: below 2**31.
    """

    image: Tensor
    label: Tensor
    corner: tuple[int, int, int]
    seed: int


@dataclass(frozen=True)
class BatchOrder:
    """Which samples a step's batch is made of: rank after rank, step after step.

    No two ranks share a sample, and one of one rank counts straight on.

    Attributes:
        batch_size: samples a step of each rank.
        rank: of this process.
        world_size: ranks in all.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1

    def numbers(self, step: int) -> range:
        """The samples of this rank's batch, by their numbers."""
        first = (step * self.world_size + self.rank) * self.batch_size
        return range(first, first + self.batch_size)
