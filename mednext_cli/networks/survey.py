"""What a pickle of `torch.save` would make, found out without making it.

First its opcodes are read without running them: only those that `torch.save` writes for tensors and
plain types, naming only the few things below. Then it is run with stand-ins for these: numbers for
tensors and storages, so that a tensor larger than its storage, or a storage larger than its record,
is refused before anything is allocated. Nothing here imports or calls what a file asks for.
"""

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

_MOST_OPERATIONS = 2_000_000
_MOST_AXES = 8
_OPCODES = frozenset(
    {
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
        *("BINFLOAT", "BINUNICODE", "EMPTY_LIST", "APPEND", "APPENDS"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_DICT", "SETITEM", "SETITEMS"),
    }
)
_STORAGES = {
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "LongStorage": 8,
    "IntStorage": 4,
    "ShortStorage": 2,
    "CharStorage": 1,
    "ByteStorage": 1,
    "BoolStorage": 1,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}
_NUMPY_CODES = ("f2", "f4", "f8", "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
_NUMBERS = dict(zip(_NUMPY_CODES, "efd?bhiqBHIQ", strict=True))  # in the codes of struct


class ForeignObjects(ValueError):
    """The pickle asks for more than tensors and plain types."""


class NumpyType:
    """Stands in for `numpy.dtype`: a type code, and whatever state a file sets is ignored."""

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or code not in _NUMBERS:
            raise ForeignObjects("a numpy array or object")
        self.format = f"<{_NUMBERS[code]}"

    def __setstate__(self, state: object) -> None:
        pass


def numpy_scalar(kind: object, raw: object) -> float | int | bool:
    """Stands in for numpy's `scalar`: a plain number out of exactly its bytes."""
    if not isinstance(kind, NumpyType) or type(raw) is not bytes:
        raise ForeignObjects("a numpy array or object")
    value: float | int | bool = struct.unpack(kind.format, raw)[0]
    return value


class _Fixed:
    """No file sets its state."""

    def __setstate__(self, state: object) -> None:
        raise ForeignObjects("the state of a tensor")


@dataclass(frozen=True)
class _Storage(_Fixed):
    itemsize: int


@dataclass(frozen=True)
class _Claim(_Fixed):
    """A storage of so many elements."""

    elements: int


class _Tensor(_Fixed):
    pass


@dataclass(frozen=True)
class _Function(_Fixed):
    function: Callable[..., Any]

    def __call__(self, *arguments: object) -> Any:  # noqa: ANN401 - of each its own
        return self.function(*arguments)


class _OrderedDict(dict[Any, Any]):
    def __setstate__(self, state: object) -> None:
        pass


def _tensor(  # as torch._utils._rebuild_tensor_v2
    storage: object,
    offset: object,
    size: object,
    stride: object,
    _requires_grad: object,
    hooks: object,
    metadata: object = None,
) -> _Tensor:
    if not isinstance(storage, _Claim) or hooks or metadata:
        raise ForeignObjects("a tensor of another kind")
    shape, steps = _counts(size), _counts(stride)
    (first,) = _counts((offset,))
    if len(shape) != len(steps) or len(shape) > _MOST_AXES:
        raise ValueError("it has a tensor without a shape")
    if 0 in shape:
        return _Tensor()
    last = first + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    elements = 1
    for length in shape:
        elements *= length
    if last >= storage.elements or elements > storage.elements:
        raise ValueError("it has a tensor that is larger than what is stored of it")
    return _Tensor()


def _counts(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple) or not all(
        type(number) is int and number >= 0 for number in values
    ):
        raise ValueError("it has a tensor without a shape")
    return values


def _parameter(data: object, _requires_grad: object, hooks: object) -> _Tensor:
    if not isinstance(data, _Tensor) or hooks:
        raise ForeignObjects("a parameter of another kind")
    return data


def _device(kind: object, index: object = 0) -> str:
    if type(kind) is not str or type(index) is not int:
        raise ForeignObjects("torch.device")
    return kind


def _encode(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise ForeignObjects("_codecs.encode")
    return text.encode("latin1")


NUMPY: dict[str, Callable[..., Any]] = {
    "numpy.dtype": NumpyType,
    "numpy.core.multiarray.scalar": numpy_scalar,
    "numpy._core.multiarray.scalar": numpy_scalar,
}
"""Stand-ins for how numpy 1 and 2 pickle a number; harmless whatever they are given."""

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **NUMPY,
    "collections.OrderedDict": _OrderedDict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": tuple,
    "torch.device": _device,
    "_codecs.encode": _encode,
}
_KNOWN: dict[str, Any] = {
    **{name: _Function(function) for name, function in _FUNCTIONS.items()},
    **{f"torch.{name}": _Storage(itemsize) for name, itemsize in _STORAGES.items()},
}


class _Surveyor(pickle.Unpickler):
    """Runs a pickle whose opcodes were checked; every name in it means a stand-in."""

    def __init__(self, structure: bytes, storages: Mapping[str, int]) -> None:
        super().__init__(BytesIO(structure))
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        return _KNOWN[f"{module}.{name}"]

    def persistent_load(self, pid: Any) -> _Claim:  # noqa: ANN401 - as in the base class
        kind, storage, key, _, elements = pid
        if kind != "storage" or not isinstance(storage, _Storage) or type(key) is not str:
            raise ForeignObjects("a storage of another kind")
        if type(elements) is not int or self._storages.get(key) != elements * storage.itemsize:
            raise ValueError("a storage in it is not as long as it says")
        return _Claim(elements)


def check_names(structure: bytes) -> None:
    """Read a pickle's opcodes, without running them.

    Raises:
        ForeignObjects: it names what it should not, or does more than `torch.save` needs.
        ValueError: it is no pickle, or endless.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(structure)):
        if opcode.name == "GLOBAL":
            name = str(argument).replace(" ", ".", 1)
            if name not in _KNOWN:
                raise ForeignObjects(name)
        elif opcode.name not in _OPCODES:
            raise ForeignObjects("made by another pickle protocol")
        elif opcode.name == "LONG_BINPUT" and int(str(argument)) > number:
            raise ValueError("its structure is damaged")
        if number > _MOST_OPERATIONS:
            raise ValueError("its structure is endless")


def survey(structure: bytes, storages: Mapping[str, int]) -> None:
    """See that loading makes plain types and tensors that are no larger than what is stored.

    Args:
        structure: the pickle.
        storages: bytes of each storage by key.

    Raises:
        ForeignObjects: it holds other objects.
        ValueError: a size in it is not true, or it is damaged.
    """
    check_names(structure)
    _Surveyor(structure, storages).load()
