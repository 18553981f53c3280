"""How long PyTorch's OpenMP threads keep a core busy when there is nothing for them to do."""

import os
from collections.abc import MutableMapping

_WAIT_POLICY, _SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
_FEW = "10000"


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have them sleep after microseconds, not milliseconds; to be called before PyTorch is loaded.

    After each operation GNU's OpenMP lets its threads turn in a loop for milliseconds, in case that
    another follows. Our kernels' threads and other processes want those cores: on two cores a third
    of a training step went by so. What the user set stays.
    """
    if _WAIT_POLICY not in environment:
        environment.setdefault(_SPINS, _FEW)
