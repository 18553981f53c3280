"""What operators give on the device "meta", as PyTorch says with ten times the Python.

Only the commonest cases of the commonest operators: tensors without gaps, in the usual order. Any
other case is PyTorch's, with its strides and its errors.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Shortcuts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, operators on "meta" give their results as fast as can be."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or PyTorch imports its compiler, which takes seconds

    def __torch_dispatch__(
        self,
        operator: Any,  # noqa: ANN401 - as torch hands it over
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        del types
        return _SHORTCUTS.get(operator, operator)(*args, **(kwargs or {}))


def _alike(value: Tensor, *_: object, **named: object) -> Tensor:
    del named
    return _empty_like(value)


def _empty_like(value: Tensor) -> Tensor:
    """`torch.empty_like` thinks about strides for a tenth of a millisecond."""
    return value.new_empty(value.shape) if value.is_contiguous() else torch.empty_like(value)


def _where_contiguous(operator: Any, which: int = 0) -> Callable[..., Any]:  # noqa: ANN401
    """A result like the argument of this number, where all tensors are without gaps."""

    def made(*args: Any, **named: Any) -> Any:  # noqa: ANN401
        if not all(one.is_contiguous() for one in args if isinstance(one, Tensor)):
            return operator(*args, **named)
        return args[which].new_empty(args[which].shape)

    return made


def _copy(value: Tensor, **named: Any) -> Any:  # noqa: ANN401
    plain = set(named) == {"dtype"}
    return torch.empty_like(value, **named) if plain else aten._to_copy.default(value, **named)


def _is_like_the_first(one: Tensor, other: object) -> bool:
    """Whether arithmetic of both gives what the first is in shape, dtype and order."""
    if not (one.is_floating_point() and one.is_contiguous()):
        return False
    if not isinstance(other, Tensor):
        return isinstance(other, int | float)
    if one.dtype != other.dtype or not other.is_contiguous():
        return False
    row = one.dim() > 1 and other.dim() == 1 and other.shape[0] == one.shape[-1]
    return one.shape == other.shape or row


def _arithmetic(operator: Any, in_place: bool = False) -> Callable[..., Any]:  # noqa: ANN401
    def made(one: Tensor, other: object, **named: object) -> Any:  # noqa: ANN401
        if not _is_like_the_first(one, other):
            return operator(one, other, **named)
        return one if in_place else one.new_empty(one.shape)

    return made


def _add(one: Tensor, other: object, **named: object) -> Any:  # noqa: ANN401
    if isinstance(other, Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype):
        return _empty_like(one)
    return _ADD(one, other, **named)


_ADD = _arithmetic(aten.add.Tensor)


def _gelu_backward(gradient: Tensor, value: Tensor, **named: object) -> Tensor:
    del gradient, named
    return _empty_like(value)


def _matrix_and_vector(matrix: Tensor, vector: Tensor) -> Any:  # noqa: ANN401
    if matrix.shape[1:] != vector.shape:
        return aten.mv.default(matrix, vector)
    return matrix.new_empty(matrix.shape[0])


def _plus_matrix_and_vector(added: Tensor, matrix: Tensor, vector: Tensor, **named: object) -> Any:  # noqa: ANN401
    if matrix.shape[1:] != vector.shape or added.shape != matrix.shape[:1]:
        return aten.addmv.default(added, matrix, vector, **named)
    return matrix.new_empty(matrix.shape[0])


def _plus_matrices(added: Tensor, one: Tensor, other: Tensor, **named: object) -> Any:  # noqa: ANN401
    if one.shape[1] != other.shape[0] or added.shape != other.shape[1:]:
        return aten.addmm.default(added, one, other, **named)
    return one.new_empty(one.shape[0], other.shape[1])


def _group_norm(
    image: Tensor, weight: object, bias: object, batch: int, channels: int, size: int, groups: int,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    del weight, bias, channels, size, epsilon
    return _empty_like(image), image.new_empty(batch, groups), image.new_empty(batch, groups)


def _group_norm_backward(gradient: Tensor, image: Tensor, *rest: Any) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    del gradient
    channels, wanted = rest[4], rest[7]
    one = _empty_like(image) if wanted[0] else None
    return one, *(image.new_empty(channels) if wish else None for wish in wanted[1:])


def _layer_norm(image: Tensor, shape: Sequence[int], *rest: Any) -> Any:  # noqa: ANN401
    kept = image.dim() - len(shape)
    if list(image.shape[kept:]) != list(shape) or not image.is_contiguous():
        return aten.native_layer_norm.default(image, shape, *rest)
    moments = [*image.shape[:kept], *(1 for _ in shape)]
    return image.new_empty(image.shape), *(_precise(image, moments) for _ in range(2))


def _batch_norm(image: Tensor, *rest: Any) -> Any:  # noqa: ANN401
    training = rest[4]
    if not training or not image.is_contiguous():
        return aten.native_batch_norm.default(image, *rest)
    moments = [image.shape[1]]
    return image.new_empty(image.shape), *(_precise(image, moments) for _ in range(2))


def _precise(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Statistics of half precision are kept in float32."""
    return image.new_empty(shape, dtype=torch.promote_types(image.dtype, torch.float32))


def _convolution(
    image: Tensor, weight: Tensor, bias: object, stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int], transposed: bool, output_padding: Sequence[int], groups: int,
) -> Any:  # noqa: ANN401  # fmt: skip
    channels, out = weight.shape[1] * groups, weight.shape[0]
    if transposed:
        channels, out = out, channels
    axes = zip(image.shape[2:], weight.shape[2:], stride, padding, dilation, strict=False)
    more = output_padding if transposed else (0,) * len(stride)
    shape = [
        (size - 1) * by - 2 * pad + step * (kernel - 1) + 1
        if transposed
        else (size + 2 * pad - step * (kernel - 1) - 1) // by + 1
        for size, kernel, by, pad, step in axes
    ]
    shape = [size + extra for size, extra in zip(shape, more, strict=False)]
    if image.shape[1] != channels or len(shape) != image.dim() - 2 or min(shape, default=0) < 1:
        given = (stride, padding, dilation, transposed, output_padding, groups)
        return aten.convolution.default(image, weight, bias, *given)
    return image.new_empty((image.shape[0], out, *shape))


def _convolution_backward(
    gradient: Tensor, image: Tensor, weight: Tensor, *rest: Any,  # noqa: ANN401
) -> tuple[Tensor | None, ...]:  # fmt: skip
    wanted = rest[7]
    return (
        _empty_like(image) if wanted[0] else None,
        _empty_like(weight) if wanted[1] else None,
        gradient.new_empty(gradient.shape[1]) if wanted[2] else None,
    )


_SHORTCUTS: dict[Any, Callable[..., Any]] = {
    aten.gelu.default: _alike,
    aten.leaky_relu.default: _alike,
    aten._to_copy.default: _copy,
    aten.add.Tensor: _add,
    **{one: _arithmetic(one) for one in (aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)},
    **{
        one: _arithmetic(one, in_place=True)
        for one in (aten.add_.Tensor, aten.sub_.Tensor, aten.mul_.Tensor, aten.div_.Tensor)
    },
    aten.mv.default: _matrix_and_vector,
    aten.addmv.default: _plus_matrix_and_vector,
    aten.addmm.default: _plus_matrices,
    aten.gelu_backward.default: _gelu_backward,
    **{
        one: _where_contiguous(one)
        for one in (aten._log_softmax.default, aten._softmax_backward_data.default)
    },
    aten.leaky_relu_backward.default: _where_contiguous(aten.leaky_relu_backward.default, 1),
    aten.native_group_norm.default: _group_norm,
    aten.native_group_norm_backward.default: _group_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_batch_norm.default: _batch_norm,
    aten.convolution.default: _convolution,
    aten.convolution_backward.default: _convolution_backward,
}
