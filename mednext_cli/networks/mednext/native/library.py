"""The compiled kernels of the C files here, for the widest vectors that this processor has."""

import ctypes
import logging
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from mednext_cli.foundation.devices import rounds_to_bfloat16

# Values of a vector, widest first, and what PyTorch calls the processors that have such vectors. It
# heeds ATEN_CPU_CAPABILITY, and so do we. Other processors than x86 have vectors of 4 values.
_X86 = {16: ("AVX512",), 8: ("AVX512", "AVX2")}
_OTHER_LANES = 4
_ROUNDING = 16  # the width of which there is a library that rounds to bfloat16 by an instruction
KERNELS = (3, 5, 7)
_FOLDER = Path(__file__).parent
logger = logging.getLogger(__name__)


def _structure(name: str, pointers: str, sizes: str) -> type[ctypes.Structure]:
    """A structure of kernels' arguments: pointers, then sizes and flags."""
    fields = [
        *((field, ctypes.c_void_p) for field in pointers.split()),
        *((field, ctypes.c_ssize_t) for field in sizes.split()),
    ]
    return type(name, (ctypes.Structure,), {"_fields_": fields, "__doc__": f"`{name}` in C."})


Convolution = _structure(
    "Convolution",
    "image taps bias added result moments",
    "depth height width out_depth out_height out_width channels half",
)
Taps = _structure(
    "Taps",
    "large small sums",
    "depth height width small_depth small_height small_width channels of_part",
)
BottleneckForward = _structure(
    "BottleneckForward",
    "x expand_weight expand_bias compress_weight compress_bias added y scratch",
    "rows piece channels hidden out half",
)
BottleneckBackward = _structure(
    "BottleneckBackward",
    "x gradient expand_weight expand_bias expand compress x_gradient sums scratch",
    "rows piece of_part channels hidden out half",
)
Statistics = _structure("Statistics", "moments mean variance", "planes voxels channels")
_NORM = "norm norm_bias mean variance epsilon"
Fold = _structure(
    "Fold", f"{_NORM} expand expand_bias compress weight bias down line", "channels hidden out"
)
Finish = _structure(
    "Finish",
    f"{_NORM} expand sums norm_gradient norm_bias_gradient expand_gradient expand_bias_gradient "
    "compress_gradient compress_bias_gradient scale slope constant",
    "parts voxels channels hidden out",
)


@dataclass(frozen=True)
class Library:
    """Kernels for one width of vector.

    Attributes:
        lanes: values of a vector; all channels are multiples of it.
        calls: the functions.
    """

    lanes: int
    calls: ctypes.CDLL


@cache
def libraries() -> tuple[Library, ...]:
    """Those that this processor can run, widest first; none where they were not compiled."""
    capability = torch.backends.cpu.get_cpu_capability()
    fitting = [lanes for lanes, names in _X86.items() if capability in names]
    found = map(_load_best, fitting or [_OTHER_LANES])
    return tuple(library for library in found if library is not None)


def library_for(*channels: int) -> Library | None:
    """The widest library whose vectors divide all these numbers of channels."""
    for library in libraries():
        if not any(count % library.lanes for count in channels):
            return library
    return None


def pointer(tensor: torch.Tensor | None, offset: int = 0) -> int | None:
    """Of a tensor's values, or of those that many values further on; None of None."""
    return None if tensor is None else tensor.data_ptr() + offset * tensor.element_size()


def _load_best(lanes: int) -> Library | None:
    """With the instruction that rounds to bfloat16, where processor and compiler have it."""
    if lanes == _ROUNDING and rounds_to_bfloat16():
        found = _load(f"{lanes}_bfloat16", lanes)
        if found is not None:
            return found
    return _load(str(lanes), lanes)


def _load(name: str, lanes: int) -> Library | None:
    file = _FOLDER / f"kernels_{name}.so"
    try:
        calls = ctypes.CDLL(str(file))
        calls.mednext_stamp.restype = ctypes.c_uint32
        fits = (calls.mednext_stamp(), calls.mednext_lanes()) == (_stamp(), lanes)
    except (OSError, AttributeError):  # not compiled, for another system, or long ago
        fits = False
    if not fits and file.is_file():
        logger.warning(
            "%s is not of the C files beside it, and not used: install again from the clone, or "
            "run python setup/build_native.py there",
            file,
        )
    return Library(lanes, calls) if fits else None


def _stamp() -> int:
    """Of the sources that are there, as setup/build_native.py writes it into a library."""
    return zlib.crc32(b"".join(file.read_bytes() for file in sorted(_FOLDER.glob("*.[ch]"))))
