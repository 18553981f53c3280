"""How long threads of PyTorch (OpenMP) and NumPy (OpenBLAS) keep a core busy with nothing to do."""

import os
from collections.abc import MutableMapping

_WAIT_POLICY, _SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_FEW = "10000"
_BLAS_WAIT, _SHORT = "OPENBLAS_THREAD_TIMEOUT", "10"  # powers of two, of cycles; its own is 26


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have them sleep after microseconds, not milliseconds; before PyTorch and NumPy are loaded.

    After each operation GNU's OpenMP lets its threads turn in a loop for milliseconds, in case that
    another follows, and OpenBLAS for tens of them. Our kernels' threads and other processes want
    those cores: on two cores a third of a training step went by so, and a third of predicting
    small scans. What the user set stays.
    """
    if _WAIT_POLICY not in environment:
        environment.setdefault(_SPINS, _FEW)
    environment.setdefault(_BLAS_WAIT, _SHORT)
