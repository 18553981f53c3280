"""What is compiled apart: one program for each kernel size and type."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

SOURCE = "depthwise.cu"
SIZES = (3, 5, 7)
DTYPES = {torch.bfloat16: "bf16", torch.float16: "fp16"}
# Shared memory of a thread block, of the 99 KiB that every GPU from compute capability 8.0 on
# allows; the source asserts that its four planes fit.
SHARED_BYTES = 52 * 1024
_FOLDER = Path(__file__).parent / "cuda"
_WARP = 32


@dataclass(frozen=True)
class Variant:
    """A kernel size and a type.

    Attributes:
        kernel: voxels, 3, 5 or 7.
        dtype: of image and result, `torch.bfloat16` or `torch.float16`.
    """

    kernel: int
    dtype: torch.dtype

    @property
    def channels(self) -> int:
        """Channels of a thread block; size 7 takes twice the registers a thread."""
        return 8 if self.kernel == 7 else 16

    @property
    def threads(self) -> int:
        """Threads of a block: a warp for each channel."""
        return _WARP * self.channels

    @property
    def name(self) -> str:
        """Such as k5_bf16."""
        return f"k{self.kernel}_{DTYPES[self.dtype]}"

    @property
    def defines(self) -> tuple[str, ...]:
        """The compiler's options that choose it."""
        return (
            f"-DKERNEL={self.kernel}",
            f"-DFLOAT16={int(self.dtype is torch.float16)}",
            f"-DCHANNELS={self.channels}",
            f"-DSHARED_BYTES={SHARED_BYTES}",
        )


@cache
def sources() -> dict[str, str]:
    """Text of the CUDA C++ files by name."""
    return {path.name: path.read_text("utf-8") for path in sorted(_FOLDER.glob("*.*"))}


def digest(*more: str) -> str:
    """SHA-256 of the sources and of whatever else a compiled program depends on."""
    texts = [text for pair in sources().items() for text in pair]
    return hashlib.sha256("\0".join((*texts, *more)).encode()).hexdigest()
