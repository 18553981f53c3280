"""How many processes score a set of cases."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mednext_cli.evaluation.scoring.score_case import CasePair
from mednext_cli.foundation.workers import RunSettings
from mednext_cli.volumes.footprint import SCORE, peek_voxels

_SMALL_VOXELS = 2**20  # starting processes costs more than scoring a few such cases
_FEW_SMALL_CASES = 40
_FILES_READ = 3


def settings_for(pairs: Sequence[CasePair], workers: int | None) -> RunSettings[CasePair]:
    """As many processes as asked for, else as memory and cores allow and the work is worth."""
    if workers is not None:
        return RunSettings(workers)
    voxels = _largest_voxels(pairs)
    if voxels <= _SMALL_VOXELS and len(pairs) <= _FEW_SMALL_CASES:
        return RunSettings(workers=0)
    return RunSettings(bytes_of=lambda _: SCORE.bytes_for(voxels))


def _largest_voxels(pairs: Iterable[CasePair]) -> int:
    """Voxels of the reference whose file is the largest, as the best guess without reading all."""
    by_size = sorted(pairs, key=lambda pair: _file_bytes(pair.reference), reverse=True)
    read = (peek_voxels(pair.reference) for pair in by_size[:_FILES_READ])
    return next((voxels for voxels in read if voxels), 0)


def _file_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
