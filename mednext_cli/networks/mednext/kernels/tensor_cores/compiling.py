"""NVRTC through ctypes: compiles CUDA C++ without a toolkit and without a GPU.

PyTorch's CUDA builds bring the library as a wheel (nvidia-cuda-nvrtc) or link to the system's. Its
Python bindings come with some of them only, and PyTorch's own use of it is private.

Source: CUDA Toolkit, NVRTC documentation.
"""

import ctypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from mednext_cli.networks.mednext.kernels.tensor_cores.variants import SOURCE, Variant, sources

_NEWEST_FIRST = ("13", "12", "11")


@dataclass(frozen=True)
class Compiled:
    """What the compiler made.

    Attributes:
        cubin: machine code for one compute capability.
        log: what it said: with `verbose`, registers and spills of each kernel.
    """

    cubin: bytes
    log: str


def _majors() -> tuple[str, ...]:
    own = (torch.version.cuda or "").split(".")[0]
    return (own,) if own else _NEWEST_FIRST


def _places() -> Iterator[str]:
    """Where the library may be: known to the loader, or in NVIDIA's wheels."""
    spec = find_spec("nvidia")
    folders = [Path(one) for one in spec.submodule_search_locations or ()] if spec else []
    for major in _majors():
        yield f"libnvrtc.so.{major}"
        for folder in folders:
            yield from map(str, sorted(folder.glob(f"*/lib/libnvrtc.so.{major}")))


@cache
def library() -> ctypes.CDLL | None:
    """NVRTC, of the major version of CUDA that PyTorch was built with; None where there is none."""
    for place in _places():
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    return None


def _nvrtc() -> ctypes.CDLL:
    found = library()
    if found is None:
        raise RuntimeError("NVRTC is not installed")
    return found


@cache
def version() -> str:
    """Of NVRTC, such as 12.9."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_nvrtc().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
    return f"{major.value}.{minor.value}"


def compile_variant(
    variant: Variant, capability: tuple[int, int], verbose: bool = False
) -> Compiled:
    """Machine code of a variant; takes seconds.

    Args:
        variant: what to compile.
        capability: of the GPU, such as (9, 0).
        verbose: have the assembler say what it used.

    Raises:
        RuntimeError: there is no NVRTC, or it refuses, with its own words.
    """
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    options = [f"--gpu-architecture=sm_{capability[0]}{capability[1]}", "--std=c++17"]
    options += [*variant.defines, *(["--ptxas-options=-v"] if verbose else [])]
    texts = {name: text for name, text in sources().items() if name != SOURCE}
    _check(
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program),
            sources()[SOURCE].encode(),
            SOURCE.encode(),
            len(texts),
            _strings(texts.values()),
            _strings(texts),
        )
    )
    try:
        status = nvrtc.nvrtcCompileProgram(program, len(options), _strings(options))
        log = _output("ProgramLog", program).rstrip(b"\0").decode(errors="replace")
        if status:
            raise RuntimeError(f"NVRTC {version()} cannot compile {variant.name}:\n{log}")
        return Compiled(_output("CUBIN", program), log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _strings(texts: Iterable[str]) -> ctypes.Array[ctypes.c_char_p]:
    encoded = [text.encode() for text in texts]
    return (ctypes.c_char_p * len(encoded))(*encoded)


def _output(what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_nvrtc(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(_nvrtc(), f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def _check(status: int) -> None:
    if status:
        error = _nvrtc().nvrtcGetErrorString
        error.restype = ctypes.c_char_p
        raise RuntimeError(f"NVRTC: {error(status).decode()}")
