"""Which device to compute on."""

from typing import TYPE_CHECKING

from mednext_cli.foundation.errors import SettingsError

if TYPE_CHECKING:
    import torch

# How libraries below PyTorch say it, in errors that are no `torch.OutOfMemoryError`.
_OUT_OF_MEMORY = (
    "out of memory",
    "ALLOC_FAILED",  # cuDNN, cuBLAS
    "ALLOCATION_FAILED",  # cuDNN 9
    "can't allocate memory",  # the CPU's allocator
    "bad_alloc",
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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch says that a device has too little memory."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)
