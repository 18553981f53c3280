"""What a run says about itself: log.csv, training.log, progress.png, TensorBoard."""

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from torch import Tensor

from mednext_cli.foundation.files import append_line, replacing
from mednext_cli.settings.progress import Row
from mednext_cli.training.columns import DICE, LOG
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.state import TrainingState
from mednext_cli.training.status import epoch_line

_SECONDS_BETWEEN_PLOTS = 60.0


class RunLog:
    """Writes the history of a run; use as a context manager.

    Args:
        folder: of the run.
        epochs_done: what TensorBoard has of later epochs is void.
        deep_supervision: whether the losses are of all outputs, for the plot's axis.
    """

    def __init__(self, folder: RunFolder, epochs_done: int, deep_supervision: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._deep = deep_supervision
        self._plotted = -math.inf
        self._board: Any = SummaryWriter(str(folder.tensorboard), purge_step=epochs_done + 1)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._board.close()

    def write(self, state: TrainingState, drawings: Sequence[Tensor] = ()) -> None:
        """Write the whole log, a line and TensorBoard of the newest row, now and then pictures.

        Args:
            state: after an epoch.
            drawings: of slices (3, H, W), from 0 to 1.
        """
        history = state.progress.history
        write_log(self._folder, history)
        append_line(self._folder.lines, epoch_line(state.progress, state.recipe.training))
        row = history[-1]
        for name, value in row.items():
            if name != "epoch" and not math.isnan(value):
                self._board.add_scalar(name, value, int(row["epoch"]))
        if state.finished or time.monotonic() - self._plotted > _SECONDS_BETWEEN_PLOTS:
            plot_history(self._folder, history, self._deep)
            for number, drawing in enumerate(drawings, 1):
                name = f"reference and prediction/patch {number}"
                self._board.add_image(name, drawing, int(row["epoch"]))
            self._plotted = time.monotonic()


def write_log(folder: RunFolder, history: Sequence[Row]) -> None:
    """Write ``log.csv``: a row an epoch."""
    # The newest row: those of an older version may have had fewer columns.
    absent = dict.fromkeys(history[-1], math.nan)
    table = LOG.expand(DICE, [name for name in history[-1] if name not in LOG.names])
    table.write(folder.log, ({**absent, **row} for row in history))


def plot_history(folder: RunFolder, history: Sequence[Row], deep_supervision: bool) -> None:
    """Draw ``progress.png``: losses, Dice, learning rate and seconds over the epochs.

    Args:
        folder: of the run.
        history: a row an epoch.
        deep_supervision: whether the losses are of all outputs, or of the only one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 11), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True)
    epochs = [row["epoch"] for row in history]
    dice = [name for name in history[-1] if name.startswith("dice_")]
    panels = (
        (
            "loss of all outputs" if deep_supervision else "loss of the output",
            ["training_loss", "validation_loss"],
        ),
        ("patch Dice", [*dice, "dice_moving"]),
        ("learning rate", ["learning_rate"]),
        ("seconds an epoch", ["step_seconds", "wait_seconds"]),
    )
    for axis, (title, names) in zip(axes, panels, strict=True):
        for name in dict.fromkeys(names):
            if not all(math.isnan(row.get(name, math.nan)) for row in history):
                label = name.replace("_", " ")
                axis.plot(
                    epochs, [row.get(name, math.nan) for row in history], label=label, marker="."
                )
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize="small")
    axes[-1].set_xlabel("epoch")
    with replacing(folder.plot) as beside:
        figure.savefig(beside, dpi=110, format="png")
