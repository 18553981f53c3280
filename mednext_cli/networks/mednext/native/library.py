"""The compiled kernels of `kernels.c`, for the widest vectors that this processor has."""

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

# Values of a vector, widest first, and what PyTorch calls the processors that have such vectors. It
# heeds ATEN_CPU_CAPABILITY, and so do we. Other processors than x86 have vectors of 4 values.
_X86 = {16: ("AVX512",), 8: ("AVX512", "AVX2")}
_OTHER_LANES = 4
KERNELS = (3, 5, 7)


class Convolution(ctypes.Structure):
    """The structure of the same name in kernels.c."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("image", "taps", "bias", "result", "moments")),
        *(
            (name, ctypes.c_ssize_t)
            for name in (
                "depth", "height", "width", "out_depth", "out_height", "out_width", "channels",
            )
        ),
    )  # fmt: skip


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
    found = map(_load, fitting or [_OTHER_LANES])
    return tuple(library for library in found if library is not None)


def library_for(*channels: int) -> Library | None:
    """The widest library whose vectors divide all these numbers of channels."""
    for library in libraries():
        if not any(count % library.lanes for count in channels):
            return library
    return None


def _load(lanes: int) -> Library | None:
    try:
        calls = ctypes.CDLL(str(Path(__file__).parent / f"kernels_{lanes}.so"))
    except OSError:  # not compiled, or for another system
        return None
    for kernel in KERNELS:
        for name in (f"depthwise_k{kernel}_s1", f"depthwise_k{kernel}_s2", f"transposed_k{kernel}"):
            call = getattr(calls, f"mednext_{name}")
            call.argtypes = (ctypes.POINTER(Convolution), ctypes.c_ssize_t, ctypes.c_ssize_t)
            call.restype = None
    calls.mednext_bottleneck.argtypes = (*(ctypes.c_void_p,) * 8, *(ctypes.c_ssize_t,) * 5)
    calls.mednext_bottleneck.restype = None
    return Library(lanes, calls) if calls.mednext_lanes() == lanes else None
