"""Which device to compute on, and what it says when its memory is not enough."""

import errno
from typing import TYPE_CHECKING

from mednext_cli.foundation.errors import SettingsError

if TYPE_CHECKING:
    import torch

# Types of exceptions, their base classes too, by name: torch need not be imported to look for them.
_MEMORY_ERRORS = {"MemoryError", "OutOfMemoryError"}
# What PyTorch, the libraries below it and the system say in errors of other types, in lower case.
_MEMORY_TEXTS = (
    "out of memory",  # CUDA, HIP, XPU, MPS
    "can't allocate memory",  # PyTorch on the CPU
    "not enough memory",  # the same on Windows
    "cannot allocate memory",
    "unable to allocate",
    "failed to allocate",
    "memory allocation failed",  # HDF5
    "bad_alloc",
    "bad allocation",
    "alloc_failed",  # cuDNN, cuBLAS
    "allocation_failed",  # cuDNN 9
    "unable to find an engine to execute this computation",  # cuDNN without room to work in
    "cublas_status_not_initialized",  # no room for its handle
    "rocblas_status_memory_error",
)


def pick_device(name: str = "auto") -> "torch.device":
    """The device of that name.

    Args:
        name: cpu, cuda, cuda:N or mps; auto is CUDA where there is one, else MPS, else the CPU.

    Raises:
        SettingsError: unknown, or not on this machine; says what is.
    """
    import torch

    available = available_devices()
    if name == "auto":
        kinds = [device.partition(":")[0] for device in available]
        best = next(kind for kind in ("cuda", "mps", "cpu") if kind in kinds)
        return torch.device(best)
    if name not in {*available, *(device.partition(":")[0] for device in available)}:
        raise SettingsError(
            f"there is no device {name!r} on this machine", f"There is {', '.join(available)}."
        )
    return torch.device(name)


def available_devices() -> list[str]:
    """The devices of this machine: cpu, cuda:0, ..., mps."""
    import torch

    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def pick_dtype(precision: str, device: "torch.device") -> "torch.dtype":
    """The number format of a forward pass.

    Args:
        precision: float32, bfloat16 or float16; auto on CUDA is bfloat16, which cannot overflow,
            where the hardware has it, else float16, and float32 on every other device (what a
            run on a CPU may take instead is measured: `training.precision_choice`).
        device: where the network runs.

    Raises:
        SettingsError: float16 on a CPU, which has no arithmetic for it; int8, which is no number
            format of PyTorch's networks.
    """
    import torch

    if precision == "float16" and device.type == "cpu":
        raise SettingsError("precision float16 does not work on the CPU", "Use auto or bfloat16.")
    if precision == "int8":
        raise SettingsError("precision int8 is of the engine openvino", "Add --engine openvino.")
    if precision != "auto":
        named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        return named[precision]
    if device.type != "cuda":
        return torch.float32
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16: AVX512-BF16 or AMX."""
    import torch

    return rounds_to_bfloat16() or bool(
        getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )


def rounds_to_bfloat16() -> bool:
    """Whether this processor has AVX512-BF16, which rounds float32 to it in one instruction."""
    import torch

    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def free_device_bytes(device: "torch.device") -> int:
    """What tensors may still take of a CUDA device's memory; 0 where it does not answer."""
    import torch

    try:
        free, _ = torch.cuda.mem_get_info(device)
    except RuntimeError:
        return 0
    return free


def too_little_memory(device: "torch.device", what: str) -> SettingsError:
    """The error to raise where a device has no room for `what`."""
    remedy = "" if device.type == "cpu" else ", or use --device cpu"
    return SettingsError(f"{device} has too little memory for {what}", f"Free some{remedy}.")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a device or the machine lacks memory.

    Args:
        error: of Python, NumPy, PyTorch on any device, cuDNN, cuBLAS, HDF5 or the system.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if _says_out_of_memory(error):
            return True
        seen.add(id(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return False


def _says_out_of_memory(error: BaseException) -> bool:
    if not _MEMORY_ERRORS.isdisjoint(kind.__name__ for kind in type(error).__mro__):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # torch.AcceleratorError and the like are RuntimeErrors; HDF5 raises OSError.
    text = str(error).casefold()
    return isinstance(error, RuntimeError | OSError) and any(
        words in text for words in _MEMORY_TEXTS
    )
