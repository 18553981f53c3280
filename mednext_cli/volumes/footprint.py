"""How much memory a process takes for a case of a known size, and sizes told by headers alone."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

from mednext_cli.volumes.scans import read_grid
from mednext_cli.volumes.volume import Grid

_MIB = 2**20


@dataclass(frozen=True)
class Footprint:
    """Peak memory of a process: Python with its libraries, and so much for each voxel.

    Attributes:
        process_bytes: without a case.
        voxel_bytes: for each voxel of a case, or of a channel where the work holds all of them.
    """

    process_bytes: int
    voxel_bytes: int

    def bytes_for(self, voxels: int) -> int:
        """For a case of that many voxels."""
        return self.process_bytes + self.voxel_bytes * voxels


# Measured at their peaks. Phantoms: the drawing, scan, label and the compressor's copies.
# Checking: stored and float32 copies of one channel, masks of what is not finite.
# Scoring: two maps as read, as indices and, inside boxes, a distance map.
PHANTOM = Footprint(300 * _MIB, 16)
CHECK = Footprint(300 * _MIB, 16)
SURVEY = Footprint(200 * _MIB, 14)
PREPARE = Footprint(200 * _MIB, 16)
SCORE = Footprint(200 * _MIB, 16)
# A case of a cache is decompressed an array at a time; its size is not known before.
CHECK_CACHED = Footprint(2048 * _MIB, 0)


def peek_grid(path: Path, index: int | None = None) -> Grid | None:
    """The grid of a scan; None where it cannot be read, which is told when the scan is.

    Args:
        path: of the file, or of a DICOM series.
        index: along the fourth axis.
    """
    try:
        return read_grid(path, index)
    except Exception:  # whatever is wrong with that file
        return None


def peek_voxels(path: Path, index: int | None = None) -> int:
    """How many voxels a scan has; 0 where its header tells nothing."""
    grid = peek_grid(path, index)
    return 0 if grid is None else prod(grid.shape)
