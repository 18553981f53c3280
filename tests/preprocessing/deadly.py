"""A raw file that takes along the worker that looks at it."""

import multiprocessing
import os
import pathlib
import signal
from typing import Any


class DeadlyPath(type(pathlib.Path())):  # type: ignore[misc]
    """Harmless in the main process; a worker that asks for its size is killed, as for memory."""

    def stat(self, **options: Any) -> os.stat_result:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().stat(**options)
