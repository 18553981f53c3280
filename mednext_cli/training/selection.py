"""Which epoch's weights are the best: those with the highest moving average of the patch Dice."""

import math
from dataclasses import dataclass

_MOVING = 0.9  # nnU-Net's weight of the past


@dataclass(frozen=True)
class Selection:
    """What is known after an epoch.

    Attributes:
        moving_dice: exponential moving average of the mean patch Dice; NaN before the first Dice.
        best_dice: the largest average so far; NaN before the first.
        is_best: whether this epoch's average is above all before.
    """

    moving_dice: float = math.nan
    best_dice: float = math.nan
    is_best: bool = False

    def after_epoch(self, dice: float) -> "Selection":
        """The selection one epoch later.

        Args:
            dice: mean patch Dice; NaN, where no class was in the patches, changes no average.
        """
        moving = _average(self.moving_dice, dice)
        is_best = moving > self.best_dice or (math.isnan(self.best_dice) and not math.isnan(moving))
        return Selection(moving, moving if is_best else self.best_dice, is_best)


def _average(past: float, dice: float) -> float:
    if math.isnan(dice):
        return past
    return dice if math.isnan(past) else _MOVING * past + (1 - _MOVING) * dice
