"""What the prediction of a case takes in memory and tiles, told from its header alone."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from mednext_cli.datasets.dataset import Case
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.probabilities import columns_of_chunk
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.footprint import peek_grid
from mednext_cli.volumes.orientation import canonical_sizes
from mednext_cli.volumes.resample import resampled_shape
from mednext_cli.volumes.volume import Grid, Shape

_BYTES = 4  # of a float32
_HALF = 2  # of a float16
_STORED = 2  # of a voxel in most files
_MANY_LABELS = 256  # more than a byte tells apart
_LOGITS = 2  # copies of what it gives: the C library keeps the last one's memory in pieces
_FEATURES = 7  # copies of features at full resolution: skip, block and its expansion, and holes
_WIDEST = 48  # channels there; a transformer's first layer is wider, and coarser
_PROCESS = 112 * 2**20  # what libraries take on their first use, and slices of tiles


@dataclass(frozen=True)
class Beside:
    """What is made of a case beside its label map.

    Attributes:
        doubts: how many maps of uncertainty.
        probabilities: whether these are kept.
    """

    doubts: int = 0
    probabilities: bool = False


LABELS_ONLY = Beside()


@dataclass(frozen=True)
class CaseBytes:
    """Main memory that a case takes beside the networks, in its three stages.

    Attributes:
        reading: the peak while it is read and prepared; what the networks see is no more.
        predicting: the peak of tiles, open sums and the way back, with the image.
        writing: what is written.
        block: that is brought back while the next one is predicted, where there are threads.
    """

    reading: int = 0
    predicting: int = 0
    writing: int = 0
    block: int = 0

    @property
    def alone(self) -> int:
        """One stage after the other."""
        return _PROCESS + max(self.reading, self.predicting, self.writing)

    def in_flight(self, threads: int, side_by_side: int = 1) -> int:
        """With so many that read ahead and as many that write, all cases as large as this one.

        Args:
            threads: that read, and as many that write; 0 does all in turn.
            side_by_side: cases that networks work on at once.
        """
        if threads == 0:
            return self.alone
        once = _PROCESS + side_by_side * (self.predicting + self.block)
        return once + threads * (self.reading + self.writing)


def peek(case: Case) -> Grid | None:
    """The grid of a case; None where it cannot be read, which is told when the case is."""
    return peek_grid(case.channels[0].path, case.channels[0].index)


def bytes_on(grid: Grid, networks: NetworkAverage, wanted: Beside) -> CaseBytes:
    """Estimated memory of a case on this grid.

    Nothing is known yet of how far the scan will be cropped, so large margins of zeros make it
    less. Sums are counted here although a GPU may hold them.
    """
    plan, shape = networks.plan, estimate_shape(grid, networks.plan)
    scan, prepared, outputs = prod(grid.shape), prod(shape), networks.plan.output_channels
    image = _BYTES * prepared * len(plan.channels)
    source = _BYTES * scan * len(plan.channels)
    mask = scan * (1 + any(channel.use_nonzero_mask for channel in plan.normalisation))
    kept = scan * _BYTES * wanted.doubts
    sweep = networks.sweep(shape)
    thick, wide = (max(stop - start for start, stop in pairwise(along)) for along in sweep.edges)
    row = scan * thick // shape[sweep.axes[0]]
    whole = canonical_sizes(grid)[0]
    columns, along = whole[sweep.axes[1]], whole[3 - sum(sweep.axes)]
    waiting = row * min(columns_of_chunk(along), columns) // columns  # for what fills a chunk
    kept_apart = _HALF * outputs * waiting * wanted.probabilities
    labels = scan * (1 if max(plan.label_set.values) < _MANY_LABELS else 2)
    sums = _BYTES * (outputs + 1) * networks.count_open(shape, apart=wanted.doubts > 1)
    resampled = shape != canonical_sizes(grid)[0]
    way_back = _BYTES * outputs * max(shape[0], shape[1]) * shape[2] * resampled
    predicting = sums + way_back + kept_apart + tile_bytes(networks)
    return CaseBytes(
        reading=source + max(image + mask, _STORED * scan),
        predicting=image + labels + kept + max(predicting, labels),
        writing=labels + kept + _BYTES * scan * bool(wanted.doubts),
        block=_BYTES * outputs * thick * wide * shape[2],
    )


def tile_bytes(networks: NetworkAverage) -> int:
    """About the main memory that a tile takes in a network: activations, and what it gives."""
    outputs = networks.plan.output_channels
    channels = (
        (_LOGITS * outputs + _FEATURES * min(member.width, _WIDEST)) * prod(member.patch_voxels)
        for member in networks.members
        if member.engine.device.type == "cpu"
    )
    return _BYTES * max(channels, default=0)


def estimate_shape(grid: Grid, plan: Plan) -> Shape:
    """(D, H, W) of the prepared image, if nothing is cropped."""
    shape, spacing = canonical_sizes(grid)
    return resampled_shape(shape, spacing, plan.spacing_mm)
