"""Which patches a network takes; everything that chooses, checks or shrinks a patch asks here."""

from collections.abc import Sequence
from dataclasses import dataclass

from mednext_cli.foundation.errors import SettingsError

Patch = tuple[int, int, int]


@dataclass(frozen=True)
class PatchRule:
    """What a network says of its patches (D, H, W), voxels.

    Attributes:
        divisor: every axis is a multiple of it.
        smallest: least length along each axis, in whatever order of the axes.
        dimensions: 3, or 2 where D is 1 and the rule is about H and W.
        fixed: the only patch there is; None where any that fits is taken.
    """

    divisor: int
    smallest: tuple[int, ...]
    dimensions: int = 3
    fixed: Patch | None = None

    def fit(self, lengths: Sequence[float]) -> Patch:
        """The nearest patch to (D, H, W); the longest axis takes the longest least."""
        if self.fixed is not None:
            return self.fixed
        axes = range(3 - self.dimensions, 3)
        fitted = [1, 1, 1]
        by_length = sorted(axes, key=lambda axis: (lengths[axis], -axis))
        for least, axis in zip(sorted(self.smallest), by_length, strict=True):
            steps = max(round(lengths[axis] / self.divisor), -(-least // self.divisor), 1)
            fitted[axis] = steps * self.divisor
        return fitted[0], fitted[1], fitted[2]

    def halve(self, patch: Patch) -> Patch:
        """Half the patch along each axis, as far as the network takes it."""
        lower = [length // 2 // self.divisor * self.divisor for length in patch]
        return self.fit(lower)

    def problem(self, patch: Sequence[int]) -> str:
        """Why the network does not take this patch; empty where it does."""
        inner, text = patch[len(patch) - self.dimensions :], shown_patch(patch)
        if self.fixed is not None and tuple(patch) != self.fixed:
            return f"a patch of {text} voxels: the network takes {shown_patch(self.fixed)} only"
        if len(patch) > self.dimensions and patch[0] != 1:
            return f"a patch of {text} voxels: a network of slices takes 1 x height x width"
        if any(length % self.divisor or length == 0 for length in inner):
            return f"a patch of {text} voxels: every axis must be divisible by {self.divisor}"
        if any(map(int.__lt__, sorted(inner), sorted(self.smallest))):
            least = shown_patch(self.smallest)
            return f"a patch of {text} voxels: the smallest is {least}, in some order of the axes"
        return ""

    def check(self, patch: Sequence[int]) -> None:
        """Raise `SettingsError` unless the network takes this patch.

        Args:
            patch: (D, H, W), or (H, W) where the rule is of two dimensions.
        """
        if problem := self.problem(patch):
            raise SettingsError(problem, f"The nearest sizes are {self._nearest(patch)}.")

    def _nearest(self, patch: Sequence[int]) -> str:
        whole = [1] * (3 - len(patch)) + list(patch)
        ends = [
            [way(length, self.divisor) * self.divisor for length in whole] for way in (_down, _up)
        ]
        found = [shown_patch(self.fit(end)[3 - len(patch) :]) for end in ends]
        return " or ".join(dict.fromkeys(found))


def _down(length: int, divisor: int) -> int:
    return length // divisor


def _up(length: int, divisor: int) -> int:
    return -(-length // divisor)


def shown_patch(patch: Sequence[int]) -> str:
    """``32 x 48 x 32``."""
    return " x ".join(map(str, patch))
