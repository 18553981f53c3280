"""A CUDA graph on the CPU: operators are recorded with their tensors and numbers, and done again.

As on a GPU, recording does nothing to the tensors that were there before, leaves nothing of use in
those that it makes, takes every Python number as it was, and cannot read a number from a tensor.
Nor are there the CPU's compiled kernels: they write through addresses, which PyTorch does not see
and no replay would do again.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mednext_cli.networks.mednext.cpu import left_to_pytorch
from mednext_cli.training.cuda_graph import NotCapturedError

Work = Callable[[], Tensor]


class RecordedGraph:
    """Takes the place of `CudaGraph`; `replays` counts."""

    def __init__(self, *_: object) -> None:
        self._recorder = _Recorder()
        self.replays = 0

    def rehearse(self, work: Work) -> Tensor:
        with left_to_pytorch():
            return work()

    def capture(self, work: Work) -> Tensor:
        try:
            with left_to_pytorch(), self._recorder:
                result = work()
        except RuntimeError as error:
            raise NotCapturedError(str(error)) from error
        finally:
            self._recorder.undo()
        return result

    def replay(self) -> None:
        self.replays += 1
        self._recorder.replay()


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # written tensors and their values
        self._made: dict[int, Tensor] = {}  # by the address of their storage

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        for tensor in _written(func, args, kwargs):
            if _address(tensor) not in self._made:
                self._before.setdefault(id(tensor), (tensor, tensor.clone()))
        made = func(*args, **kwargs)
        given = {_address(one) for one in _tensors((args, kwargs))}
        fresh = [one for one in _tensors(made) if _address(one) not in given]
        self._made |= {_address(one): one for one in fresh}
        self._calls.append((func, args, kwargs, made if fresh else None))
        return made

    def undo(self) -> None:
        for tensor, values in self._before.values():
            tensor.detach().copy_(values)
        for tensor in self._made.values():
            if tensor.is_floating_point():
                tensor.detach().fill_(float("nan"))

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, made in self._calls:
            again = func(*args, **kwargs)
            if made is not None:
                for kept, new in zip(_tensors(made), _tensors(again), strict=True):
                    kept.copy_(new)


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Tensor]:
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            given = args[place] if place < len(args) else kwargs.get(argument.name)
            yield from _tensors(given)


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_leaves(values) if isinstance(one, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
