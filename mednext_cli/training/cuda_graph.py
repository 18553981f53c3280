"""A training step as one CUDA graph: launched at once, without the host's time for each operator.

A step of MedNeXt L is about 4,000 launches, and what the host takes to hand them over may be more
than what the GPU takes. A graph has them recorded with their addresses and numbers, so that what
changes from step to step - the batch and the learning rate - lies in tensors that stay in place.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.training.distributed import ALONE, Processes
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.state import TrainingState
from mednext_cli.training.step import update

logger = logging.getLogger(__name__)
_REHEARSALS = 3  # in which kernels are compiled, algorithms chosen and moments allocated
Step = Callable[[Tensor, Tensor], Tensor]
Work = Callable[[], Tensor]


class NotCapturedError(Exception):
    """Work could not be recorded, and nothing was harmed; says why in a line."""


class Graph(Protocol):
    """Records work once, and does it again and again."""

    def rehearse(self, work: Work) -> Tensor:
        """Do it as it is, where it will be captured."""
        ...

    def capture(self, work: Work) -> Tensor:
        """Record it without doing it; gives the tensor that every replay fills.

        Raises:
            NotCapturedError: it cannot be recorded.
        """
        ...

    def replay(self) -> None:
        """Do what was recorded, on what now lies in the tensors that it was recorded with."""
        ...


class CudaGraph:
    """PyTorch's, of work on a stream of its own.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graph = torch.cuda.CUDAGraph()
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def rehearse(self, work: Work) -> Tensor:
        """On that stream, in line with the current one."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            result = work()
        usual.wait_stream(self._stream)
        result.record_stream(usual)
        return result

    def capture(self, work: Work) -> Tensor:
        """As `Graph.capture`.

        Raises:
            NotCapturedError: PyTorch refuses an operator within a capture.
            SettingsError: an operator waited for the device, which leaves PyTorch's allocator in
                the middle of a capture: this process cannot go on.
        """
        gc.collect()
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()  # what the rehearsals left is the graph's to take
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            # Watches this thread alone: the loader's pins memory meanwhile.
            self._graph.capture_begin(capture_error_mode="thread_local")
            try:
                result = work()
            except RuntimeError as error:
                self._abandon(error)
            self._graph.capture_end()
        return result

    def _abandon(self, error: RuntimeError) -> None:
        reason = str(error).partition("\n")[0]
        try:
            self._graph.capture_end()
        except RuntimeError:
            raise SettingsError(
                f"a training step cannot be captured as a CUDA graph ({reason})",
                "Take training.cuda_graph=false.",
            ) from error
        raise NotCapturedError(reason) from error

    def replay(self) -> None:
        """On the current stream."""
        self._graph.replay()


class CapturedStep:
    """Three steps as they are, then the same step replayed on every batch.

    Args:
        optimiser: of the step; fused. Its rate stays a number for everybody else.
        step: reads the batch, the network and the optimiser, and waits for nothing.
        graph: that records it.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, step: Step, graph: Graph) -> None:
        self._optimiser, self._step = optimiser, step
        self._graph: Graph | None = graph
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._rates: list[Tensor] = []
        self._rehearsed = 0
        self._result: Tensor | None = None

    @property
    def is_captured(self) -> bool:
        """Whether steps are replayed by now."""
        return self._result is not None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step, as `mednext_cli.training.step.update`."""
        inputs = self._put_in_place(images, labels)
        if self._graph is None or inputs is None:
            return self._step(images, labels)
        work = partial(self._work, *inputs)
        if self._rehearsed < _REHEARSALS:
            self._rehearsed += 1
            return self._graph.rehearse(work)
        if self._result is None:
            try:
                self._result = self._graph.capture(work)
            except NotCapturedError as error:
                self._graph = None
                _tell(str(error))
                return self._step(images, labels)
        self._graph.replay()
        return self._result.clone()

    def _put_in_place(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor] | None:
        """Batch and rates where the graph reads them; None for another shape than the first's."""
        groups = self._optimiser.param_groups
        if self._inputs is None:
            self._inputs = images.clone(), labels.clone()
            self._rates = [torch.zeros((), device=images.device) for _ in groups]
        if (images.shape, labels.shape) != tuple(kept.shape for kept in self._inputs):
            return None
        for kept, given in zip(self._inputs, (images, labels), strict=True):
            kept.copy_(given)
        for rate, group in zip(self._rates, groups, strict=True):
            rate.fill_(group["lr"])
        return self._inputs

    def _work(self, images: Tensor, labels: Tensor) -> Tensor:
        with _capturable(self._optimiser, self._rates):
            return self._step(images, labels)


@contextmanager
def _capturable(optimiser: torch.optim.Optimizer, rates: list[Tensor]) -> Iterator[None]:
    """With rates that lie in tensors; checkpoints and schedules see numbers before and after."""
    groups = optimiser.param_groups
    keys = {"lr", "capturable"}
    kept = [{key: group[key] for key in keys & group.keys()} for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate
        if "capturable" in group:  # AdamW asks for it, SGD does without
            group["capturable"] = True
    try:
        yield
    finally:
        for group, settings in zip(groups, kept, strict=True):
            group.update(settings)


def choose_step(state: TrainingState, loss: SegmentationLoss, processes: Processes = ALONE) -> Step:
    """How the recipe has a step taken: by `update`, or by a CUDA graph of it.

    Where there can be none, that is said in a line if the recipe asks for one, and `update` it is.
    Left to us, only the steps of families that were seen to be capturable are: an operator of
    another network might wait for the device, which ends the run.
    """
    wish, step = state.recipe.training.cuda_graph, partial(update, state, loss)
    if wish is False or (wish == "auto" and not state.spec.family.capturable):
        return step
    device = next(state.network.parameters()).device
    obstacle = _obstacle(state, device, processes)
    if obstacle is None:
        return CapturedStep(state.optimiser, step, CudaGraph(device))
    if wish is True:
        _tell(obstacle)
    return step


def _obstacle(state: TrainingState, device: torch.device, processes: Processes) -> str | None:
    """What is known to stand against a graph; None where nothing is."""
    if device.type != "cuda":
        return f"{device.type} has none"
    if processes.world_size > 1:
        return "several processes share the run"
    if state.precision.scaler.is_enabled():
        return "float16's loss scaling was never tried in one"
    if state.checkpointing:
        # pytorch/pytorch issue 83148: it keeps the state of random numbers, for dropout.
        return "model.checkpointing asks for the random state, which no capture allows"
    return None


def _tell(reason: str) -> None:
    logger.warning("training.cuda_graph: steps are taken without a CUDA graph: %s", reason)
