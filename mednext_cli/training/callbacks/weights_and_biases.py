"""Weights & Biases: the numbers of log.csv as a run there; an optional extra."""

import os
import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.files import read_text, write_text
from mednext_cli.foundation.names import check_name
from mednext_cli.settings.sections import Section
from mednext_cli.training.callbacks.callback import Callback, Ending, RunFacts
from mednext_cli.training.callbacks.numbers import measured

Text = Annotated[str, Field(min_length=1, max_length=256)]
_ID_FILE = "run_id.txt"


class WandbSettings(Section):
    """The table `[callbacks.wandb]`.

    Attributes:
        mode: `offline` writes into the run's folder and sends nothing, for `wandb sync` later;
            `online` sends; left out, as the environment variable WANDB_MODE says, else offline
            (ours).
        project: of the run there (ours).
        entity: the user or team; left out, the user's own (Weights & Biases).
        group: of the run there; left out, the dataset (ours).
        tags: of the run there (ours).
    """

    mode: Literal["online", "offline"] | None = None
    project: Text = "mednext"
    entity: Text | None = None
    group: Text | None = None
    tags: Annotated[tuple[Text, ...], Field(max_length=64)] = ()


class WeightsAndBiases(Callback):
    """A run of Weights & Biases, which a resumed training carries on under the same id.

    Its files are in the run's folder, below ``callbacks/wandb``. The recipe is its config.

    Args:
        settings: see `WandbSettings`.
    """

    Settings: ClassVar = WandbSettings
    requires: ClassVar = {"wandb": "mednext[wandb]"}

    def __init__(self, settings: WandbSettings) -> None:
        self._settings = settings
        self._run: Any = None

    def begin(self, run: RunFacts) -> None:
        """Open the run, or the one that was opened when the training began."""
        settings = self._settings
        mode = settings.mode or os.environ.get("WANDB_MODE") or "offline"
        if mode != "online":  # reports of its own faults would go to its makers all the same
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = _import_wandb()
        self._run = wandb.init(
            id=_run_id(run.own),
            resume="allow",
            mode=mode,
            dir=str(run.own),
            project=settings.project,
            entity=settings.entity,
            group=settings.group or run.dataset,
            name=run.name,
            tags=list(settings.tags),
            config=dict(run.recipe),
            reinit="create_new",  # each fold of a command has its own
            settings=wandb.Settings(
                silent=True, console="off", save_code=False, disable_git=True, disable_code=True
            ),
        )
        # By epochs and not by calls: those that a killed run does again lie where they were.
        self._run.define_metric("*", step_metric="epoch")

    def after_epoch(self, row: Mapping[str, float]) -> None:
        """Log the row."""
        self._run.log(measured(row))

    def after_checkpoint(self, path: Path, is_best: bool) -> None:
        """Note where the best weights are."""
        if is_best:
            self._run.summary["best_checkpoint"] = str(path)

    def end(self, ending: Ending) -> None:
        """Close the run, with Dice by region as its summary."""
        for region, dice in measured(ending.dice).items():
            self._run.summary[f"final_dice/{region}"] = dice
        self._run.finish(exit_code=0 if ending.outcome == "finished" else 1)


def _import_wandb() -> Any:  # noqa: ANN401 - untyped where it is not installed
    try:
        return import_module("wandb")
    except ImportError as error:
        raise MednextError(
            "Weights & Biases is not installed", "Install it with pip install 'mednext[wandb]'."
        ) from error


def _run_id(own: Path) -> str:
    """The id that the run had from the beginning.

    Raises:
        ValueError: what stands in its place is none.
    """
    path = own / _ID_FILE
    if not path.is_file():
        write_text(path, secrets.token_hex(4))
    return check_name(read_text(path).strip())
