"""What a callback is: told of a run's begin, its epochs, its checkpoints and its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from mednext_cli.settings.sections import Section


@dataclass(frozen=True)
class RunFacts:
    """The run that begins, or goes on.

    Attributes:
        dataset: its name.
        network: the label of the network, as ``S-k3``.
        fold: like ``0`` or ``all``.
        folder: of the run.
        runs: the folder of all runs, which holds ``DATASET/NETWORK/foldN``.
        own: a folder within the run's for what the callback itself keeps: it is there, a run that
            goes on finds in it what it left, and ``--restart`` empties it.
        recipe: resolved, as nested tables of plain values.
        epochs_done: before this session; 0 where the run begins.
    """

    dataset: str
    network: str
    fold: str
    folder: Path
    runs: Path
    own: Path
    recipe: Mapping[str, Any]
    epochs_done: int = 0

    @property
    def name(self) -> str:
        """Of the run, for people."""
        return f"{self.dataset} {self.network} fold {self.fold}"


@dataclass(frozen=True)
class Ending:
    """How a session of a run ended.

    Attributes:
        outcome: an interrupted or failed run may go on later.
        dice: mean Dice by region of the fold's cases predicted whole; empty without validation.
    """

    outcome: Literal["finished", "interrupted", "failed"]
    dice: Mapping[str, float] = field(default_factory=dict)


class Callback:
    """Does nothing: one of yours extends it and has the methods that it needs.

    It is given plain values and is called between steps by the first process only. Whatever it
    raises ends in one warning, and it is not called again; the run goes on.

    Args:
        settings: an instance of `Settings`, validated.
    """

    Settings: ClassVar[type[BaseModel]] = Section
    """What the table `[callbacks.NAME]` may hold; by default nothing."""

    def __init__(self, settings: BaseModel) -> None:
        self.settings = settings

    def begin(self, run: RunFacts) -> None:
        """The run's folder is in place, and its first step is next."""

    def after_epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is over; `row` is that of log.csv, NaN where nothing was measured.

        A run that was killed may do epochs again that were told of already.
        """

    def after_checkpoint(self, path: Path, is_best: bool) -> None:
        """A checkpoint was written, the best one or the newest."""

    def end(self, ending: Ending) -> None:
        """The session is over, the final validation too."""


CallbackMaker = Callable[[BaseModel], Callback]
"""Validated settings to a callback; a class will do, and may have `Settings` and `requires`."""
