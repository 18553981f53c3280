"""Says early what a run on a CPU will take, before somebody waits for days."""

import logging
import time

import torch

_STEPS = 3  # the first is slower
_HOURS = 6.0
logger = logging.getLogger(__name__)


class Pace:
    """Measures the first steps of a session.

    Args:
        device: on anything but a CPU nothing is said.
        steps: that are left.
    """

    def __init__(self, device: torch.device, steps: int) -> None:
        self._left = steps
        self._seen = 0
        self._last = time.monotonic()
        self._fastest = float("inf")
        self._done = device.type != "cpu"

    def after_step(self) -> None:
        """Take the time; after a few steps warn of a run of many hours."""
        if self._done:
            return
        now = time.monotonic()
        self._fastest = min(self._fastest, now - self._last)
        self._last, self._seen = now, self._seen + 1
        if self._seen < _STEPS:
            return
        self._done = True
        hours = self._fastest * self._left / 3600
        if hours > _HOURS:
            logger.warning(
                "a step takes %.1f s on this CPU: the %s that are left take about %.0f hours. "
                "--recipe cpu is made for a CPU and takes minutes to hours",
                self._fastest,
                f"{self._left:,}",
                hours,
            )
