"""How many processes score a set of cases."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from mednext_cli.evaluation.scoring.score_case import CasePair
from mednext_cli.foundation.machine import count_workers
from mednext_cli.volumes.scans import read_grid

logger = logging.getLogger(__name__)
_BYTES_PER_VOXEL = 16  # two maps as read, as indices and, inside boxes, a distance map
_BYTES_OF_A_PROCESS = 200 * 2**20
_SMALL_CASE_BYTES = 2**20  # uncompressed; starting processes costs more than scoring a few
_FEW_SMALL_CASES = 40


def choose_workers(pairs: Sequence[CasePair], workers: int | None) -> int:
    """As many as asked for, else as memory and cores allow and the work is worth."""
    if workers is not None:
        return count_workers(workers, 1, len(pairs))
    voxel_bytes = _largest_voxels(pairs)
    if voxel_bytes <= _SMALL_CASE_BYTES and len(pairs) <= _FEW_SMALL_CASES:
        return 0
    needed = voxel_bytes * _BYTES_PER_VOXEL + _BYTES_OF_A_PROCESS
    return count_workers(None, needed, len(pairs))


def _largest_voxels(pairs: Iterable[CasePair]) -> int:
    """Voxels of the reference whose file is the largest, as the best guess without reading all."""
    by_size = sorted(pairs, key=lambda pair: _file_bytes(pair.reference), reverse=True)
    for pair in by_size[:3]:
        try:
            shape = read_grid(pair.reference).shape
        except Exception as error:  # whatever is wrong with that case is said when it is scored
            logger.debug("%s", pair.case, exc_info=error)
            continue
        return shape[0] * shape[1] * shape[2]
    return 0


def _file_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
