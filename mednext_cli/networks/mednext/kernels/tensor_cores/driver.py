"""The CUDA driver through ctypes: loads machine code and launches kernels of it.

Source: CUDA Driver API documentation, "Module Management" and "Execution Control".
"""

import ctypes
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from mednext_cli.networks.mednext.kernels.tensor_cores.cubins import cubin_of
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import SHARED_BYTES, Variant

Argument = Tensor | int | None
_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8  # CU_FUNC_ATTRIBUTE_...


class Kernels:
    """A variant's kernels on one GPU, whose context is the current one.

    Args:
        driver: libcuda.
        cubin: machine code.
        multiprocessors: of the GPU.
        stream: gives the handle of the stream to launch on.

    Raises:
        RuntimeError: the driver refuses the machine code.
    """

    def __init__(
        self,
        driver: ctypes.CDLL,
        cubin: bytes,
        multiprocessors: int,
        stream: Callable[[], int],
    ) -> None:
        self.multiprocessors = multiprocessors
        self._driver, self._stream = driver, stream
        self._module, self._context = ctypes.c_void_p(), ctypes.c_void_p()
        self._functions: dict[str, ctypes.c_void_p] = {}
        self._check(driver.cuCtxGetCurrent(ctypes.byref(self._context)))
        self._check(driver.cuModuleLoadData(ctypes.byref(self._module), cubin))

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        *arguments: Argument,
    ) -> None:
        """Enqueue a kernel.

        Args:
            name: of an `extern "C"` function.
            grid: thread blocks along x, y and z.
            threads: of a block.
            shared_bytes: memory of a block, at most `SHARED_BYTES`.
            arguments: pointers to the data of tensors (null for None) and 32-bit integers.

        Raises:
            RuntimeError: the driver refuses.
        """
        values = [_value(one) for one in arguments]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        # A thread of autograd's may have none yet: it gets one with its first call of the runtime.
        self._check(self._driver.cuCtxSetCurrent(self._context))
        status = self._driver.cuLaunchKernel(
            self._function(name),
            *grid,
            *(threads, 1, 1),
            shared_bytes,
            ctypes.c_void_p(self._stream()),
            pointers,
            None,
        )
        self._check(status)

    def _function(self, name: str) -> ctypes.c_void_p:
        if name not in self._functions:
            function, driver = ctypes.c_void_p(), self._driver
            self._check(
                driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode())
            )
            self._check(
                driver.cuFuncSetAttribute(function, _MAX_DYNAMIC_SHARED_SIZE_BYTES, SHARED_BYTES)
            )
            self._functions[name] = function
        return self._functions[name]

    def _check(self, status: int) -> None:
        if status:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"CUDA driver: {(text.value or b'unknown error').decode()}")


def _value(argument: Argument) -> ctypes.c_void_p | ctypes.c_int:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_void_p() if argument is None else ctypes.c_int(argument)


@cache
def kernels_on(device: torch.device, variant: Variant) -> Kernels:
    """A variant's kernels on the current GPU; the first time they are compiled or read.

    Raises:
        RuntimeError: they cannot be compiled or loaded.
    """
    torch.cuda.synchronize(device)  # its context exists and is this thread's
    properties = torch.cuda.get_device_properties(device)
    return Kernels(
        ctypes.CDLL("libcuda.so.1"),
        cubin_of(variant, (properties.major, properties.minor)),
        properties.multi_processor_count,
        lambda: int(torch.cuda.current_stream(device).cuda_stream),
    )
