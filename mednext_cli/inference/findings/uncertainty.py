"""How sure the networks are of every voxel, and how far they agree."""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from mednext_cli.inference.engine import Activation
from mednext_cli.inference.findings.files import DISAGREEMENT, ENTROPY

Array = NDArray[np.float32]
_VALUES_AT_ONCE = 2**22


def entropy(scores: Array, activation: Activation) -> Array:
    """Entropy of every voxel's classes, or the mean of its regions', of the largest there can be.

    Args:
        scores: (K, D, H, W) probabilities.
        activation: "softmax": K classes that exclude each other; "sigmoid": K regions, each
            inside or outside by itself.

    Returns:
        (D, H, W), 0 (certain) to 1 (all classes alike; every region as likely as not).
    """
    count, depth, height, width = scores.shape
    found = np.empty((depth, height, width), dtype=np.float32)
    step = max(1, _VALUES_AT_ONCE // (count * height * width))
    most = np.log(count) if activation == "softmax" else count * np.log(2)
    for start in range(0, depth, step):
        slab = np.minimum(scores[:, start : start + step], 1)  # averages are rounded, to above 1
        total = special.entr(slab).sum(axis=0)
        if activation == "sigmoid":
            total += special.entr(1 - slab).sum(axis=0)
        found[start : start + step] = total / most
    return np.clip(found, 0.0, 1.0, out=found)


class Doubts:
    """The uncertainty of a case, gathered while its networks are averaged, block by block.

    The disagreement is the entropy of the average less the average of the networks' entropies
    (the mutual information of label and network, Houlsby et al., arXiv 1112.5745): 0 where all
    say the same, be they sure or not.

    Args:
        activation: of the networks.
        members: how many there are; the disagreement of one is not told.
    """

    def __init__(self, activation: Activation, members: int) -> None:
        self._activation, self._members = activation, members
        self._single: Array | None = None

    def add(self, scores: Array, share: float) -> None:
        """Add one network's probabilities (K, d, h, w) and its share of the average."""
        if self._members == 1:
            return
        own = entropy(scores, self._activation)
        own *= np.float32(share)
        self._single = own if self._single is None else np.add(self._single, own, out=self._single)

    def finish(self, average: Array) -> dict[str, Array]:
        """The maps (d, h, w) of a block by name, of the average (K, d, h, w)."""
        total, single = entropy(average, self._activation), self._single
        self._single = None
        if single is None:
            return {ENTROPY: total}
        return {ENTROPY: total, DISAGREEMENT: np.maximum(total - single, 0.0)}
