"""Which patches a network takes; everything that chooses, checks or shrinks a patch asks here."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import lt

from mednext_cli.foundation.errors import SettingsError

Patch = tuple[int, int, int]


@dataclass(frozen=True)
class PatchRule:
    """What a network says of its patches (D, H, W), voxels.

    Attributes:
        divisors: what each axis of a planned patch, and of an exported graph's image, is a multiple
            of; as many as there are dimensions.
        smallest: least length along each axis; where all have the same divisor, in whatever order
            of the axes.
        dimensions: 3, or 2 where D is 1 and the rule is about H and W.
        fixed: the only patch there is; None where any that fits is taken.
        taken: what each axis is a multiple of where PyTorch runs the network; None: the divisors.
    """

    divisors: tuple[int, ...]
    smallest: tuple[int, ...]
    dimensions: int = 3
    fixed: Patch | None = None
    taken: tuple[int, ...] | None = None

    @property
    def _taken(self) -> tuple[int, ...]:
        return self.taken or self.divisors

    @property
    def _in_any_order(self) -> bool:
        return len(set(self.divisors)) == 1

    def _by_axis(self, values: Sequence[int]) -> dict[int, int]:
        """One value for each axis of (D, H, W) that the rule is about."""
        return dict(zip(range(3 - self.dimensions, 3), values, strict=True))

    def fit(self, lengths: Sequence[float]) -> Patch:
        """The nearest patch to (D, H, W); the longest axis takes the longest least."""
        if self.fixed is not None:
            return self.fixed
        divisors, least = self._by_axis(self.divisors), self._by_axis(self.smallest)
        if self._in_any_order:
            by_length = sorted(divisors, key=lambda axis: (lengths[axis], -axis))
            least = dict(zip(by_length, sorted(self.smallest), strict=True))
        fitted = [1, 1, 1]
        for axis, divisor in divisors.items():
            steps = max(round(lengths[axis] / divisor), -(-least[axis] // divisor), 1)
            fitted[axis] = steps * divisor
        return fitted[0], fitted[1], fitted[2]

    def nearest(self, patch: Patch) -> Patch:
        """The patch itself where the network takes it, else what `fit` makes of it."""
        return self.fit(patch) if self.problem(patch) else patch

    def hold(self, patch: Patch) -> Patch:
        """The smallest patch of the divisors' multiples that holds this one."""
        return self.fit(self._rounded(patch, math.ceil))

    def halve(self, patch: Patch) -> Patch:
        """Half the patch along each axis, as far as the network takes it."""
        return self.fit(self._rounded([length // 2 for length in patch], math.floor))

    def _rounded(
        self,
        lengths: Sequence[int],
        way: Callable[[float], int],
        among: tuple[int, ...] | None = None,
    ) -> list[int]:
        """Multiples of the divisors, or of others, up or down; an axis without one stays."""
        divisors = dict.fromkeys(range(3), 1) | self._by_axis(among or self.divisors)
        return [
            way(length / divisors[axis]) * divisors[axis] for axis, length in enumerate(lengths)
        ]

    def problem(self, patch: Sequence[int]) -> str:
        """Why the network does not take this patch; empty where it does."""
        objection = self._objection(patch)  # no text of sizes: torch.compile may leave them open
        return f"a patch of {shown_patch(patch)} voxels: {objection}" if objection else ""

    def _objection(self, patch: Sequence[int]) -> str:
        inner = patch[len(patch) - self.dimensions :]
        if self.fixed is not None and tuple(patch) != self.fixed:
            return f"the network takes {shown_patch(self.fixed)} only"
        if len(patch) > self.dimensions and patch[0] != 1:
            return "a network of slices takes 1 x height x width"
        if any(
            length % divisor or length == 0
            for length, divisor in zip(inner, self._taken, strict=True)
        ):
            return self._divisibility()
        if self._is_too_small(inner):
            order = ", in some order of the axes" if self._in_any_order else ""
            return f"the smallest is {shown_patch(self.smallest)}{order}"
        return ""

    def _divisibility(self) -> str:
        if self._in_any_order:
            return f"every axis must be divisible by {self._taken[0]}"
        return f"the axes must be divisible by {', '.join(map(str, self._taken))}"

    def _is_too_small(self, inner: Sequence[int]) -> bool:
        if not self._in_any_order:
            return any(map(lt, inner, self.smallest))
        # As if both were sorted, which torch.compile cannot do with sizes it leaves open.
        return any(
            _how_many(inner, least) < _how_many(self.smallest, least) for least in self.smallest
        )

    def check(self, patch: Sequence[int]) -> None:
        """Raise `SettingsError` unless the network takes this patch.

        Args:
            patch: (D, H, W), or (H, W) where the rule is of two dimensions.
        """
        if problem := self.problem(patch):
            raise SettingsError(problem, f"The nearest sizes are {self._nearest(patch)}.")

    def _nearest(self, patch: Sequence[int]) -> str:
        whole = [1] * (3 - len(patch)) + list(patch)
        ends = [self._rounded(whole, way, self._taken) for way in (math.floor, math.ceil)]
        taken = (self.nearest((depth, height, width)) for depth, height, width in ends)
        found = [shown_patch(end[3 - len(patch) :]) for end in taken]
        return " or ".join(dict.fromkeys(found))


def _how_many(lengths: Sequence[int], least: int) -> int:
    return sum(length >= least for length in lengths)


def shown_patch(patch: Sequence[int]) -> str:
    """``32 x 48 x 32``."""
    return " x ".join(map(str, patch))
