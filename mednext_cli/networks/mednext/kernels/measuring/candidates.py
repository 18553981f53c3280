"""What is tried for a block: the ways to run it, and what holds for a whole network meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from mednext_cli.networks.mednext.kernels import availability
from mednext_cli.networks.mednext.kernels.measuring.shapes import BlockShape
from mednext_cli.networks.mednext.kernels.tensor_cores import availability as tensor_cores
from mednext_cli.networks.mednext.kernels.tilings import TILINGS
from mednext_cli.networks.mednext.ways import ARRANGED, PYTORCH, TENSOR_CORES, TRITON, is_ours
from mednext_cli.networks.workload import Workload

Layout = Literal["channels_last", "contiguous"]
# PyTorch's own operators do not keep channels last on a CPU (`cpu.pointwise`), and ours want them.
_CPU_WAYS: Mapping[Layout, str] = {"channels_last": ARRANGED, "contiguous": PYTORCH}
_ARRANGED_TYPES = (torch.float32, torch.bfloat16)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True)
class Mode:
    """What holds for a whole network, or for the whole process.

    Attributes:
        layout: of images and weights in memory.
        benchmark: `torch.backends.cudnn.benchmark`: cuDNN tries its algorithms and keeps the
            fastest, perhaps another one in each run.
        threads: of the CPU; None leaves them.
    """

    layout: Layout = "channels_last"
    benchmark: bool = False
    threads: int | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to run a block, in a mode.

    Attributes:
        way: see `mednext.ways`.
        mode: meanwhile.
    """

    way: str
    mode: Mode = Mode()

    @property
    def name(self) -> str:
        """For people: ``pytorch, contiguous, cudnn.benchmark``."""
        mode = self.mode
        said = [self.way, mode.layout.replace("_", "-")]
        said += ["cudnn.benchmark"] * mode.benchmark
        said += [] if mode.threads is None else [f"{mode.threads} threads"]
        return ", ".join(said)

    def serves(self, mode: Mode) -> bool:
        """Whether a network in this mode can take it: ours do not ask cuDNN."""
        if is_ours(self.way):
            return (self.mode.layout, self.mode.threads) == (mode.layout, mode.threads)
        return self.mode == mode


def list_candidates(shape: BlockShape, workload: Workload) -> list[Candidate]:
    """All that can be tried for a block; the first is what runs where nothing was measured."""
    modes = _cpu_modes() if workload.device.type == "cpu" else _gpu_modes()
    if workload.device.type == "cpu" and workload.dtype in _ARRANGED_TYPES:
        listed = [Candidate(_CPU_WAYS[mode.layout], mode) for mode in modes]
    else:
        listed = [Candidate(PYTORCH, mode) for mode in modes]
    return [*listed, *_ours(shape, workload, modes[0])]


def _gpu_modes() -> list[Mode]:
    """Deterministic algorithms and cuDNN's trying exclude each other."""
    fixed = torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic
    return [Mode(layout, tries) for tries in ((False,) if fixed else (False, True))
            for layout in LAYOUTS]  # fmt: skip


def _cpu_modes() -> list[Mode]:
    """As many threads as there are now, and half of them: the others may be hyper-threads."""
    now = torch.get_num_threads()
    return [Mode(layout, threads=threads) for threads in sorted({now, max(now // 2, 1)})[::-1]
            for layout in LAYOUTS]  # fmt: skip


def _ours(shape: BlockShape, workload: Workload, mode: Mode) -> list[Candidate]:
    if not shape.plain or shape.kernel not in availability.SIZES:
        return []
    if workload.dtype not in availability.DTYPES or not availability.can_run(workload.device):
        return []
    ways = [f"{TRITON}:{tiling}" if tiling else TRITON for tiling in TILINGS]
    if tensor_cores.takes(workload.device, workload.dtype, shape.channels, shape.kernel):
        ways.append(TENSOR_CORES)
    return [Candidate(way, mode) for way in ways]
