"""A stranger's callbacks: one that writes down what it is told, one that does what it must not."""

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from mednext_cli.settings.sections import Section
from mednext_cli.training.callbacks.callback import Callback, Ending, RunFacts


class Witness(Callback):
    """Appends a line of JSON for all that it is told."""

    def begin(self, run: RunFacts) -> None:
        self._file = run.own / "events.jsonl"
        self._write("begin", run.dataset, run.network, run.fold, run.epochs_done)

    def after_epoch(self, row: Mapping[str, float]) -> None:
        self._write("epoch", row["epoch"], row["training_loss"])

    def after_checkpoint(self, path: Path, is_best: bool) -> None:
        self._write("checkpoint", path.name, is_best, path.is_file())

    def end(self, ending: Ending) -> None:
        self._write("end", ending.outcome, sorted(ending.dice))

    def _write(self, *event: object) -> None:
        with self._file.open("a") as stream:
            stream.write(json.dumps(event) + "\n")


class ClumsySettings(Section):
    """The table `[callbacks.clumsy]`."""

    fails_in: Literal["begin", "epoch", "checkpoint", "end", "never"] = "never"
    leaves: bool = False


class Clumsy(Callback):
    """Draws random numbers, empties rows, turns gradients off, and fails when it is told to."""

    Settings: ClassVar = ClumsySettings
    requires: ClassVar = {}

    def begin(self, run: RunFacts) -> None:
        self._disturb("begin")

    def after_epoch(self, row: Mapping[str, float]) -> None:
        assert isinstance(row, dict)
        row.clear()
        self._disturb("epoch")

    def after_checkpoint(self, path: Path, is_best: bool) -> None:
        self._disturb("checkpoint")

    def end(self, ending: Ending) -> None:
        self._disturb("end")

    def _disturb(self, when: str) -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the one that all share
        torch.manual_seed(0)
        torch.set_grad_enabled(False)
        assert isinstance(self.settings, ClumsySettings)
        if self.settings.fails_in == when:
            if self.settings.leaves:
                sys.exit(3)
            raise RuntimeError("no such\nserver")
