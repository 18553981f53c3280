"""Cases one after the other through the networks, read ahead and written behind by threads."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.outcomes import Outcome
from mednext_cli.foundation.overlap import Stages, run_overlapped
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.findings.uncertainty import Doubts
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.sources import check_volumes
from mednext_cli.inference.stages import Observe, unobserved
from mednext_cli.preprocessing.apply import prepare_source, read_image
from mednext_cli.preprocessing.geometry import SourceGeometry

Array = NDArray[np.float32]
Prepared = tuple[Array, SourceGeometry]


@dataclass(frozen=True)
class Predicted:
    """What the networks made of a case.

    Attributes:
        scores: probabilities (K, D, H, W) on the prepared grid.
        geometry: the way back to the scan's own.
        seconds: the networks took.
        doubts: maps (D, H, W) of their uncertainty by name, where these are wanted.
    """

    case: Case
    scores: Array
    geometry: SourceGeometry
    seconds: float
    doubts: Mapping[str, Array] = field(default_factory=dict)


class Store(Protocol):
    """Where the results go."""

    def before_reading(self, case: Case) -> None:
        """Called before a case is read, in a thread that reads."""
        ...

    def write(self, predicted: Predicted) -> None:
        """Write a case, in a thread that writes."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """Cases to label maps.

    Attributes:
        networks: loaded once, for all cases.
        store: where results go.
        workers: threads that read and prepare, and as many that restore and write.
        fewer: see `run_overlapped`.
        observe: told of the stages up to the networks; what writes is the store's.
        doubting: whether the networks' uncertainty is told, too.
    """

    networks: NetworkAverage
    store: Store
    workers: int
    fewer: str = ""
    observe: Observe = unobserved
    doubting: bool = False

    def run(self, cases: Iterable[Case], count: TileCount) -> Iterator[Outcome[None]]:
        """Predict the cases; yield what became of each.

        Raises:
            StorageError: the disk refuses; it would refuse the others, too.
        """
        stages = Stages(self._prepare, partial(self._put_through, count), self.store.write)
        return run_overlapped(stages, cases, attrgetter("id"), self.workers, self.fewer)

    def _prepare(self, case: Case) -> Prepared:
        plan = self.networks.plan
        check_volumes(case, plan)
        self.store.before_reading(case)
        with self.observe("read"):
            source = read_image(case.channels, plan)
        with self.observe("prepare"):
            return prepare_source(source, case.channels, plan)

    def _put_through(self, count: TileCount, case: Case, prepared: Prepared) -> Predicted:
        image, geometry = prepared
        started = time.monotonic()
        count.begin(case.id, self.networks.count_tiles(image.shape[1:]))
        advance = partial(count.advance, case.id)
        doubts = Doubts(self.networks.activation, len(self.networks.members))
        with self.observe("network"):
            scores = self.networks.predict(
                image, case.id, advance, doubts.add if self.doubting else None
            )
            maps = doubts.finish(scores) if self.doubting else {}
        return Predicted(case, scores, geometry, time.monotonic() - started, maps)
