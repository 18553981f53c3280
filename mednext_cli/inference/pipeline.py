"""Cases one after the other through the networks, read ahead and written behind by threads."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from threading import Event
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.outcomes import Outcome
from mednext_cli.foundation.overlap import OneBehind, Stages, run_overlapped
from mednext_cli.inference.average import Advance, NetworkAverage
from mednext_cli.inference.cores import sharing_cores
from mednext_cli.inference.findings.uncertainty import Doubts
from mednext_cli.inference.probability_sink import ProbabilitySink
from mednext_cli.inference.progress import TileCount
from mednext_cli.inference.sliding import Placed
from mednext_cli.inference.sources import check_volumes
from mednext_cli.inference.stages import Observe, unobserved
from mednext_cli.inference.sweep import Box
from mednext_cli.preprocessing.apply import prepare_source, read_image
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.restore import Restoration

Array = NDArray[np.float32]
Prepared = tuple[Array, SourceGeometry]


@dataclass(frozen=True)
class Predicted:
    """What the networks made of a case, on the scan's grid in the file's own axis order.

    Attributes:
        labels: label values.
        geometry: the way from the prepared grid.
        seconds: the networks and the way back took.
        doubts: maps of their uncertainty by name, where these are wanted.
        sink: has the probabilities; they are in no place yet.
    """

    case: Case
    labels: NDArray[Any]
    geometry: SourceGeometry
    seconds: float
    doubts: Mapping[str, Array] = field(default_factory=dict)
    sink: ProbabilitySink | None = None


class Store(Protocol):
    """Where the results go."""

    def before_reading(self, case: Case) -> None:
        """Called before a case is read, in a thread that reads."""
        ...

    def sink(
        self, case: Case, geometry: SourceGeometry, axes: tuple[int, int]
    ) -> ProbabilitySink | None:
        """What takes the probabilities of a case as they come; None where nobody wants them.

        Args:
            case: the case.
            geometry: the way back.
            axes: in whose order blocks come.
        """
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
        workers: threads that read and prepare, and as many that write.
        fewer: see `run_overlapped`.
        observe: told of the stages up to the way back; what writes is the store's. Networks and
            restoring take turns, block by block; with workers a thread restores one block while
            the next is predicted.
        doubting: whether the networks' uncertainty is told, too.
        side_by_side: cases that the networks work on at once, on a CPU; its cores are shared out.
    """

    networks: NetworkAverage
    store: Store
    workers: int
    fewer: str = ""
    observe: Observe = unobserved
    doubting: bool = False
    side_by_side: int = 1

    def run(self, cases: Iterable[Case], count: TileCount) -> Iterator[Outcome[None]]:
        """Predict the cases; yield what became of each.

        Raises:
            StorageError: the disk refuses; it would refuse the others, too.
        """
        stopped = Event()
        make = partial(self._put_through, count, stopped)
        stages = Stages(self._prepare, make, self.store.write, stopped.set)
        with sharing_cores(self.side_by_side):
            yield from run_overlapped(
                *(stages, cases, attrgetter("id"), self.workers, self.fewer),
                makers=self.side_by_side,
            )

    def _prepare(self, case: Case) -> Prepared:
        plan = self.networks.plan
        check_volumes(case, plan)
        self.store.before_reading(case)
        with self.observe("read"):
            source = read_image(case.channels, plan)
        with self.observe("prepare"):
            return prepare_source(source, case.channels, plan)

    def _put_through(
        self, count: TileCount, stopped: Event, case: Case, prepared: Prepared
    ) -> Predicted:
        image, geometry = prepared
        started, networks = time.monotonic(), self.networks
        count.begin(case.id, networks.count_tiles(image.shape[1:]))
        axes = networks.sweep(image.shape[1:]).axes
        sink = self.store.sink(case, geometry, axes)
        try:
            restoration = Restoration(geometry, networks.plan, axes, sink)
            self._restore(restoration, image, case, partial(_advance, count, stopped, case.id))
            with self.observe("restore"):
                labels, maps = restoration.label_map(), restoration.maps()
        except BaseException:
            if sink is not None:
                sink.discard()
            raise
        return Predicted(case, labels, geometry, time.monotonic() - started, maps, sink)

    def _restore(
        self, restoration: Restoration, image: Array, case: Case, advance: Advance
    ) -> None:
        networks = self.networks
        doubts = Doubts(networks.activation, len(networks.members)) if self.doubting else None
        blocks = networks.predict(image, case.id, advance, doubts.add if doubts else None)
        with OneBehind(threaded=self.workers > 0) as behind:
            while (block := self._next(blocks)) is not None:
                box, scores = block
                maps = doubts.finish(scores) if doubts else {}
                behind.do(partial(self._add, restoration, box, scores, maps))
                del block, scores, maps  # before the next is made
            behind.wait()

    def _add(
        self, restoration: Restoration, box: Box, scores: Array, maps: Mapping[str, Array]
    ) -> None:
        with self.observe("restore"):
            restoration.add(box, scores, maps)

    def _next(self, blocks: Iterator[Placed]) -> Placed | None:
        with self.observe("network"):
            return next(blocks, None)


def _advance(count: TileCount, stopped: Event, case_id: str, tiles: int, note: str = "") -> None:
    """So many tiles more are done; ends a case that is made beside one which ended it all."""
    if stopped.is_set():
        raise InterruptedError(case_id)
    count.advance(case_id, tiles, note)
