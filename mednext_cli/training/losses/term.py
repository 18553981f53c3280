"""What a term of the loss is: called with a prediction, it gives a number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, cast

from torch import Tensor

from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.settings.loss import LossSettings
from mednext_cli.training.distributed import ALONE
from mednext_cli.training.losses.prediction import Prediction, Reducer


@dataclass(frozen=True)
class TermOptions:
    """What a term is made with.

    Attributes:
        settings: the recipe's `[loss]`.
        batch_dice: whether overlaps are summed over the batch before they are divided.
        reducer: sums over the ranks that share a batch, as `Processes.all_reduce` does.
    """

    settings: LossSettings = field(default_factory=LossSettings)
    batch_dice: bool = False
    reducer: Reducer = ALONE.all_reduce


class Term(Protocol):
    """A part of the loss."""

    def __call__(self, prediction: Prediction) -> Tensor:
        """Of one output of the network, a scalar with a gradient: the smaller the better.

        Called in float32. Voxels that `prediction.valid` leaves out must not count.
        """
        ...


TermMaker = Callable[[TermOptions], Term]
"""Options to a term; a class will do."""


def build_term(name: str, options: TermOptions) -> Term:
    """The term of that name.

    Raises:
        PluginError: there is none, or its package does not load.
    """
    return cast("TermMaker", load_plugin("losses", name))(options)
