"""The processes that train one network together: as torchrun starts them, or one alone."""

import atexit
import contextlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, distributed, nn

from mednext_cli.foundation.errors import MednextError, SettingsError
from mednext_cli.foundation.torchrun import count_processes, read_number

_WAIT = timedelta(days=2)  # for the others, which predict whole cases or write to a slow disk
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# What gloo, NCCL and the store say of a process that is gone.
_GONE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket", re.IGNORECASE)
_REMEDY = "The same command goes on from the last checkpoint, with as many processes as you like."
Value = TypeVar("Value")


class ElsewhereError(MednextError):
    """Another process of the run was refused and says why: this one ends in silence."""

    def __init__(self) -> None:
        super().__init__("")


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

    @property
    def local_size(self) -> int:
        """How many of them share this machine."""
        ...

    def all_reduce(self, values: Tensor) -> Tensor:
        """The sum of every rank's `values` of any shape; its gradient is summed likewise."""
        ...

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, by rank; plain objects."""
        ...

    def barrier(self) -> None:
        """Wait until every rank is here."""
        ...

    def device_name(self, name: str) -> str:
        """The device that this process is to take where `name` was asked for."""
        ...

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network with the first rank's weights, whose gradients are means over the ranks."""
        ...


@dataclass(frozen=True)
class SingleProcess:
    """Rank 0 of 1: its own values are the sum, and there is nobody to wait for."""

    rank: int = 0
    world_size: int = 1
    local_size: int = 1

    def all_reduce(self, values: Tensor) -> Tensor:
        """The values as they are."""
        return values

    def gather(self, value: Value) -> list[Value]:
        """The value alone."""
        return [value]

    def barrier(self) -> None:
        """Wait for nobody."""

    def device_name(self, name: str) -> str:
        """The same."""
        return name

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network


ALONE = SingleProcess()


@dataclass(frozen=True)
class SeveralProcesses:
    """A rank of PyTorch's default process group.

    Attributes:
        local_rank: among those of this machine.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int

    def all_reduce(self, values: Tensor) -> Tensor:
        """As `Processes.all_reduce`, where the values are: by gloo on a CPU, NCCL on a GPU."""
        total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
        return total

    def gather(self, value: Value) -> list[Value]:
        """As `Processes.gather`."""
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """As `Processes.barrier`; by gloo, which waits as long as it takes."""
        self.all_reduce(torch.zeros(1))

    def device_name(self, name: str) -> str:
        """A GPU of its own, where no single one was named."""
        if name in ("auto", "cuda") and torch.cuda.is_available():
            return f"cuda:{self.local_rank}"
        return name

    def parallel(self, network: nn.Module) -> nn.Module:
        """PyTorch's, which sends gradients while others are still computed."""
        # Of kernels of one voxel: their strides say the same otherwise, and nothing is copied.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
        return nn.parallel.DistributedDataParallel(network)


class _Sum(torch.autograd.Function):
    """Each rank's loss holds the sum, so its gradient is that of all these losses together."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:  # noqa: ANN401 - autograd's
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 - autograd's
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


def find_processes(environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes of this run, as torchrun tells them; joined at the first call.

    Raises:
        SettingsError: torchrun did not start them, or they do not find each other.
    """
    count = count_processes(environment)
    if count == 1:
        return ALONE
    missing = [name for name in _NEEDED if name not in environment]
    if missing:
        raise SettingsError(
            f"this is one of {count} processes (WORLD_SIZE and RANK), but {missing[0]} is not set",
            "Start them by torchrun, or unset these variables: docs/scaling.md has examples.",
        )
    ranks = (read_number(environment, name) for name in ("RANK", "LOCAL_RANK"))
    return _join(*ranks, count, max(1, read_number(environment, "LOCAL_WORLD_SIZE")))


@cache
def _join(rank: int, local_rank: int, world_size: int, local_size: int) -> SeveralProcesses:
    """Become one of them; all but the first say no more than errors."""
    if rank:
        logging.getLogger("mednext_cli").setLevel(logging.ERROR)
    on_gpus = torch.cuda.is_available() and distributed.is_nccl_available()
    if on_gpus and local_rank < torch.cuda.device_count():
        torch.cuda.set_device(local_rank)
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=_WAIT)
    except (RuntimeError, ValueError) as error:
        raise SettingsError(
            f"the processes of this run do not find each other: {str(error).partition('.')[0]}",
            "Check torchrun's --rdzv-endpoint, and that the nodes reach it.",
        ) from error
    atexit.register(_leave)
    return SeveralProcesses(rank, world_size, local_rank, local_size)


def _leave() -> None:
    with contextlib.suppress(RuntimeError):  # somebody is gone
        distributed.destroy_process_group()


@contextmanager
def together(processes: Processes) -> Iterator[None]:
    """Around what may be refused: where one process is, all end, and the first such says why.

    Raises:
        ElsewhereError: another one was refused.
    """
    failure: MednextError | None = None
    try:
        yield
    except MednextError as error:
        failure = error
    failed = processes.gather(failure is not None)
    if failure is not None and not any(failed[: processes.rank]):
        raise failure
    if any(failed):
        raise ElsewhereError


@contextmanager
def explained_loss(processes: Processes) -> Iterator[None]:
    """Around work that is shared: says in a line that another process is gone.

    Raises:
        MednextError: it is.
    """
    try:
        yield
    except RuntimeError as error:
        if processes.world_size == 1 or not _GONE.search(str(error)):
            raise
        raise MednextError("another process of this run ended before it", _REMEDY) from error


def any_of(processes: Processes, *flags: bool) -> tuple[bool, ...]:
    """Whether each flag is set in any process: all of them get the same answer."""
    if processes.world_size == 1:
        return flags
    return tuple(bool(count) for count in processes.all_reduce(torch.tensor(flags).float()))


def mean_of(processes: Processes, value: Tensor) -> Tensor:
    """The mean over the ranks of a value that each has."""
    return processes.all_reduce(value) / processes.world_size
