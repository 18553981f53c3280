"""What operators that run on the device "meta" would take: bytes alive, bytes moved, arithmetic."""

import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from mednext_cli.networks.shortcuts import Shortcuts

aten = torch.ops.aten
Kind = Literal["dense", "depthwise", "other"]
_CONVOLUTIONS = (aten.convolution.default, aten.convolution_backward.default)


@dataclass(frozen=True)
class Operation:
    """One operator's work.

    Attributes:
        kind: dense is a product of matrices, or a convolution that is one, for which GPUs have
            units of their own; depthwise is a convolution of each channel by itself; other does
            next to no arithmetic.
        dtype: of the numbers it computes with.
        operations: additions and multiplications.
        bytes_moved: of its inputs and outputs, each read or written once.
    """

    kind: Kind
    dtype: torch.dtype
    operations: int
    bytes_moved: int


class Ledger(Shortcuts):
    """Follows every storage from birth to death, and lists what each operator does.

    Storages that were there before, such as the weights, are not counted.

    Attributes:
        peak_bytes: most that was alive at once.
        work: how often each operation was done.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak_bytes = 0
        self.work: Counter[Operation] = Counter()
        self._alive = 0
        self._storages: dict[int, list[int]] = {}  # bytes, tensors that share it

    def __torch_dispatch__(
        self,
        operator: Any,  # noqa: ANN401 - as torch hands it over
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        before = {storage_key(tensor) for tensor in tensors_in(args)} - self._storages.keys()
        result = super().__torch_dispatch__(operator, types, args, kwargs)
        made = list(tensors_in(result))
        for tensor in made:
            if storage_key(tensor) not in before:
                self._enter(tensor)
        self._pass(_scratch_bytes(operator, args))
        if not operator.is_view:
            self._note(operator, args, kwargs or {}, result, made)
        return result

    def _pass(self, scratch: int) -> None:
        """What an operator takes beside its results, and gives back."""
        self.peak_bytes = max(self.peak_bytes, self._alive + scratch)

    def _enter(self, tensor: Tensor) -> None:
        key = storage_key(tensor)
        if key not in self._storages:
            size = tensor.untyped_storage().nbytes()
            self._storages[key] = [size, 0]
            self._alive += size
            self.peak_bytes = max(self.peak_bytes, self._alive)
        self._storages[key][1] += 1
        weakref.finalize(tensor, self._leave, key)

    def _leave(self, key: int) -> None:
        size_and_users = self._storages[key]
        size_and_users[1] -= 1
        if size_and_users[1] == 0:
            self._alive -= size_and_users[0]
            del self._storages[key]

    def _note(
        self,
        operator: Any,  # noqa: ANN401
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,  # noqa: ANN401
        made: list[Tensor],
    ) -> None:
        given = list(tensors_in(args))
        if not given:  # fresh memory is not touched
            return
        moved = sum(tensor.numel() * tensor.element_size() for tensor in (*given, *made))
        operations = _operations(operator, args, kwargs, result)
        kind: Kind = "dense" if operations else "other"
        if operator in _CONVOLUTIONS and _is_depthwise(operator, args):
            kind = "depthwise"
        self.work[Operation(kind, given[0].dtype, operations, moved)] += 1


def storage_key(tensor: Tensor) -> int:
    """The same for tensors that share their memory, while one of them is alive."""
    return int(tensor.untyped_storage()._cdata)


def tensors_in(value: object) -> Iterator[Tensor]:
    """Those among arguments or results, in lists too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)


def _scratch_bytes(operator: Any, args: tuple[Any, ...]) -> int:  # noqa: ANN401
    """Of the fused depthwise convolution's gradient: two images as large as the one it is given.

    One with what comes through the norm's mean and variance, and one with zeros between its voxels
    where the convolution is transposed, or a copy with the channels last.
    """
    if operator.name() != "mednext::depthwise_backward":
        return 0
    return 2 * int(args[0].numel()) * int(args[0].element_size())


def _is_depthwise(operator: Any, args: tuple[Any, ...]) -> bool:  # noqa: ANN401
    """A group a channel; groups are the ninth argument forward, the tenth backward."""
    forward = operator is aten.convolution.default
    image, groups = (args[0], args[8]) if forward else (args[1], args[9])
    return bool(groups > 1 and groups == image.shape[1])


def _operations(
    operator: Any,  # noqa: ANN401
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    result: Any,  # noqa: ANN401
) -> int:
    if operator is aten.convolution.default:
        image, weight, transposed = args[0], args[1], args[6]
        return _of_convolution(image if transposed else result, weight)
    if operator is aten.convolution_backward.default:
        gradient, image, weight, transposed, wanted = (*args[:3], args[7], args[10])
        count = int(wanted[0]) + int(wanted[1])
        return count * _of_convolution(image if transposed else gradient, weight)
    from torch.utils.flop_counter import (
        flop_registry,
    )  # which loads Triton: not for those who only train

    formula = flop_registry.get(operator._overloadpacket)
    return int(formula(*args, **kwargs, out_val=result)) if formula else 0


def _of_convolution(smaller: Tensor, weight: Tensor) -> int:
    """A multiplication and an addition for each value on the smaller grid and weight it meets.

    PyTorch's own count of the gradient takes groups for one.
    """
    return int(2 * smaller.numel() * prod(weight.shape[1:]))
