"""The processes that train one network together. So far there is one, the trivial case."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mednext_cli.foundation.errors import SettingsError


class Processes(Protocol):
    """What a run asks of the processes that share it."""

    @property
    def rank(self) -> int:
        """Of this process, from 0; rank 0 writes the run's folder."""
        ...

    @property
    def world_size(self) -> int:
        """How many there are."""
        ...

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of every rank's `values` of any shape; its gradient is summed likewise."""
        ...

    def barrier(self) -> None:
        """Wait until every rank is here."""
        ...


@dataclass(frozen=True)
class SingleProcess:
    """Rank 0 of 1: its own values are the sum, and there is nobody to wait for."""

    rank: int = 0
    world_size: int = 1

    def all_reduce(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values

    def barrier(self) -> None:
        """Wait for nobody."""


ALONE = SingleProcess()


def find_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes of this run, by WORLD_SIZE and RANK.

    Raises:
        SettingsError: there are several, as under torchrun: they would all do the same.
    """
    processes = max(_count(environment, "WORLD_SIZE"), _count(environment, "RANK") + 1)
    if processes > 1:
        raise SettingsError(
            f"this is one of {processes} processes (WORLD_SIZE and RANK, as torchrun sets them), "
            "and mednext trains in a single one",
            "Call mednext train without torchrun, one fold a GPU (--device cuda:1).",
        )
    return ALONE


def _count(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
