"""How work is timed on CUDA devices and on CPUs."""

import os
import time
from collections.abc import Callable

import torch

from mednext_cli.networks.mednext.kernels.measuring.clocks import Clocks, read_clocks
from mednext_cli.networks.mednext.kernels.measuring.timing import Prepared, Reading, Work

_WARM_UPS = 3
_USUAL_CACHE = 64 * 2**20
_LARGEST_CPU_CACHE = 128 * 2**20
_CYCLES_A_SECOND = 2e9  # about a GPU's clock; a wait that is a little long or short does no harm


class CpuBench:
    """The work is done when it is started.

    Args:
        clock: seconds; `time.process_time` where other processes share the cores.
        cache_bytes: of the last cache, which twice that many written bytes empty before each
            sample; None asks the system.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cache_bytes: int | None = None
    ) -> None:
        self._clock = clock
        size = _cpu_cache_bytes() if cache_bytes is None else cache_bytes
        self._flushed = torch.empty(2 * size, dtype=torch.uint8)

    def prepare(self, work: Work) -> Prepared:
        """Once; memory is not counted."""
        work()
        return Prepared(work)

    def start(self, prepared: Prepared) -> Reading:
        """Do it, with an empty cache."""
        self._flushed.zero_()
        begin = self._clock()
        prepared.run()
        milliseconds = 1e3 * (self._clock() - begin)
        return lambda: milliseconds

    def wait(self) -> None:
        """All is done."""

    def clocks(self) -> Clocks | None:
        """Nobody tells."""
        return None


def _cpu_cache_bytes() -> int:
    try:
        size = os.sysconf("SC_LEVEL3_CACHE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, macOS
        size = 0
    return min(size, _LARGEST_CPU_CACHE) if size > 0 else _USUAL_CACHE


class CudaBench:
    """The work is queued, as a CUDA graph where it can be captured, and the events are read later.

    What cannot be captured waits behind a kernel that only spins, so that the host has handed all
    of it over when the device begins: the time between the events is the device's alone.

    Args:
        device: a CUDA device.
        as_launched: work is neither captured nor held back: the host's time shows where the device
            is faster than the host, as in training without a CUDA graph.
    """

    def __init__(self, device: torch.device, as_launched: bool = False) -> None:
        self._device, self._as_launched = device, as_launched
        properties = torch.cuda.get_device_properties(device)
        size = getattr(properties, "L2_cache_size", 0) or _USUAL_CACHE
        self._flushed = torch.empty(2 * size, dtype=torch.uint8, device=device)
        self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def prepare(self, work: Work) -> Prepared:
        """Three times on a side stream, as graphs ask for; then once more to capture it.

        All graphs share their memory: nobody reads what a candidate leaves behind.
        """
        with torch.cuda.device(self._device):
            torch.cuda.reset_peak_memory_stats()
            host_seconds = self._warm_up(work)
            peak = torch.cuda.max_memory_allocated()
            graph = None if self._as_launched else self._capture(work)
        if graph is None:
            return Prepared(work, peak, captured=False, host_seconds=host_seconds)
        return Prepared(graph.replay, peak, captured=True)

    def _warm_up(self, work: Work) -> float:
        """What the host takes the last time, seconds."""
        self._side.wait_stream(torch.cuda.current_stream())
        begin = 0.0
        with torch.cuda.stream(self._side):
            for _ in range(_WARM_UPS):
                torch.cuda.synchronize()
                begin = time.perf_counter()
                work()
        host_seconds = time.perf_counter() - begin
        torch.cuda.current_stream().wait_stream(self._side)
        torch.cuda.synchronize()
        return host_seconds

    def _capture(self, work: Work) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        random = torch.cuda.default_generators[torch.cuda.current_device()]
        before = random.clone_state()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._side):
                work()
        except RuntimeError:  # waits for the device, or asks for memory outside the pool
            torch.cuda.synchronize()
            random.graphsafe_set_state(before)  # else it would be in the capture for ever
            return None
        return graph

    def start(self, prepared: Prepared) -> Reading:
        """Queue it behind a write of twice the second level cache."""
        begin, end = _event(), _event()
        with torch.cuda.device(self._device):
            if not (prepared.captured or self._as_launched):
                # One and a half times the host's time, as the events take a little too.
                _spin(1.5 * prepared.host_seconds)
            self._flushed.zero_()
            begin.record()
            prepared.run()
            end.record()
        return lambda: begin.elapsed_time(end)

    def wait(self) -> None:
        """Until the device has done all of it."""
        torch.cuda.synchronize(self._device)

    def clocks(self) -> Clocks | None:
        """While queued work still runs, if it was enough."""
        return read_clocks(self._device)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _spin(seconds: float) -> None:
    torch.cuda._sleep(int(seconds * _CYCLES_A_SECOND))  # type: ignore[no-untyped-call]
