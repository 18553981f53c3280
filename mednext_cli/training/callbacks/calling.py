"""Callbacks are called so that they can neither harm a run nor change its results."""

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.settings.callbacks import CallbackSettings, callback_settings
from mednext_cli.training.callbacks.callback import Callback, CallbackMaker, Ending, RunFacts
from mednext_cli.training.run_folder import RunFolder

logger = logging.getLogger(__name__)


class Callbacks:
    """The callbacks of a run, in the recipe's order; those that failed are called no more.

    Args:
        settings: the recipe's.
        folder: of the run.
    """

    def __init__(self, settings: CallbackSettings, folder: RunFolder) -> None:
        self._settings, self._folder = settings, folder
        self._callbacks: dict[str, Callback] = {}

    def begin(self, dataset: str, recipe: Mapping[str, Any], epochs_done: int) -> None:
        """Make them, and tell each of the run.

        Args:
            dataset: its name.
            recipe: resolved, as plain values.
            epochs_done: before this session.
        """
        for name in self._settings.names:
            with self._guarded(name):
                own = self._folder.callbacks / name
                own.mkdir(parents=True, exist_ok=True)
                path = self._folder.path.absolute()
                run = RunFacts(
                    dataset=dataset,
                    network=path.parent.name,
                    fold=path.name.removeprefix("fold"),
                    folder=path,
                    runs=path.parents[2],
                    own=own.absolute(),
                    recipe=recipe,
                    epochs_done=epochs_done,
                )
                callback = _make(name, self._settings)
                callback.begin(run)
                self._callbacks[name] = callback

    def after_epoch(self, row: Mapping[str, float]) -> None:
        """Tell each of an epoch that is over; `row` as in log.csv."""
        for name, callback in list(self._callbacks.items()):
            with self._guarded(name):
                callback.after_epoch(dict(row))

    def after_checkpoint(self, path: Path, is_best: bool) -> None:
        """Tell each of a checkpoint that was written."""
        for name, callback in list(self._callbacks.items()):
            with self._guarded(name):
                callback.after_checkpoint(path.absolute(), is_best)

    def end(self, ending: Ending) -> None:
        """Tell each of the end, for the last time."""
        for name, callback in list(self._callbacks.items()):
            with self._guarded(name):
                callback.end(ending)
        self._callbacks.clear()

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        """Around what a callback does: whatever it raises is said in a warning, and swallowed."""
        try:
            with _undisturbed():
                yield
        except KeyboardInterrupt:  # the user's, not the callback's
            raise
        except BaseException as error:  # sys.exit, too
            self._callbacks.pop(name, None)
            said = " ".join(f"{type(error).__name__}: {error}".split())
            logger.warning(
                "the callback %s failed and is left out from here on; the run goes on (%s)",
                name,
                said,
            )
            logger.debug("the callback %s", name, exc_info=True)


@contextmanager
def told(
    callbacks: Callbacks | None, dataset: str, recipe: Mapping[str, Any], epochs_done: int
) -> Iterator[dict[str, float]]:
    """Around a run: its callbacks are told of its begin, and how it ended.

    Args:
        callbacks: of the run; None where nobody is told.
        dataset: its name.
        recipe: resolved, as plain values.
        epochs_done: before this session.

    Yields:
        To be filled: Dice by region of the final validation, which the end is told with.
    """
    dice: dict[str, float] = {}
    if callbacks is None:
        yield dice
        return
    callbacks.begin(dataset, recipe, epochs_done)
    try:
        yield dice
    except KeyboardInterrupt:
        callbacks.end(Ending("interrupted"))
        raise
    except BaseException:
        callbacks.end(Ending("failed"))
        raise
    callbacks.end(Ending("finished", dict(dice)))


def _make(name: str, settings: CallbackSettings) -> Callback:
    """The callback of that name with its settings."""
    validated = callback_settings(name).model_validate(settings.table(name))
    return cast("CallbackMaker", load_plugin("callbacks", name))(validated)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Random numbers and gradients are after it as they were before."""
    drawn, drawn_by_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - global one
    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = [torch.cuda.current_device()] if in_use else []
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled()), torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(drawn)
        np.random.set_state(drawn_by_numpy)  # noqa: NPY002
