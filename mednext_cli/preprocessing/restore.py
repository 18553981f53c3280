"""Scores on the prepared grid brought back to the scan's own grid, block by block."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.neighbours import Neighbours
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.crop import extent_of
from mednext_cli.volumes.orientation import contiguous, from_canonical
from mednext_cli.volumes.resample_boxes import BoxResampling

_REGION_THRESHOLD = 0.5
_ROUNDING = 1e-4  # relative; of sums and of interpolation in float32
Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]


class ClassSink(Protocol):
    """What takes probabilities on the scan's grid: an array, or a file that is written."""

    def write(self, index: int, box: Box, scores: Array) -> None:
        """Take one class, or region, of a block.

        Args:
            index: of the class.
            box: where the block lies on the scan's grid in canonical order (D, H, W). What no
                block reaches was cropped away: background, certainly.
            scores: (d, h, w).
        """
        ...


class Restoration:
    """A case whose scores come in blocks, on its scan's grid.

    Classes are resampled (linear, nearest across slices of anisotropic scans, as nnU-Net exports
    them) one after the other with a running maximum, each in the box in which it can win: a class
    whose scores are all below the mean of the classes has none. Memory holds two of them, and of
    all of them what lies between a block and its neighbours.

    Args:
        geometry: of the case.
        plan: classes or regions, and the label values they are written as.
        axes: of the rows of blocks, and of the blocks within a row.
        sink: takes probabilities, too.
    """

    def __init__(
        self,
        geometry: SourceGeometry,
        plan: Plan,
        axes: tuple[int, int] = (0, 1),
        sink: ClassSink | None = None,
    ) -> None:
        self._geometry, self._sink, self._axes = geometry, sink, axes
        labels = self._label_set = plan.label_set
        self._values = labels.region_values if labels.region_training else labels.class_values
        self._threshold = _REGION_THRESHOLD if labels.region_training else np.inf
        self._resampling = BoxResampling(
            geometry.resampled_shape, geometry.cropped_shape, plan.spacing_mm, geometry.spacing_mm
        )
        self._classes = self._neighbours(plan.output_channels)
        self._maps: dict[str, tuple[Neighbours, Array]] = {}
        self._labels: NDArray[Any] = np.zeros(geometry.canonical_shape, dtype=_kind(labels))

    def add(self, box: Box, scores: Array, maps: Mapping[str, Array] | None = None) -> None:
        """Restore what is known now.

        Args:
            box: where the block lies in the prepared image; blocks come row by row.
            scores: (K, d, h, w): classes with the background, or regions.
            maps: other numbers (d, h, w) to be brought back alike, the same in every block.
        """
        made = tuple(self._resampling.finished(axis, box[axis]) for axis in range(3))
        vote = self._vote(made, scores)
        for index, block in enumerate(scores):
            voxels, origin = self._classes.extend(index, box, block)
            if vote is not None:
                vote.add(self._values[index], voxels, origin)
            if vote is not None and self._sink is not None:
                found = self._resampling.make(voxels, origin, made)
                self._sink.write(index, self._in_scan(made), found)
        for name, block in (maps or {}).items():
            neighbours, whole = self._map(name)
            voxels, origin = neighbours.extend(0, box, block)
            if vote is not None:
                whole[self._in_scan(made)] = self._resampling.make(voxels, origin, made)

    def label_map(self) -> NDArray[Any]:
        """Label values on the scan's grid, in the file's own axis order, once all was added."""
        return from_canonical(self._labels, self._geometry.file_grid)

    def maps(self) -> dict[str, Array]:
        """The other numbers likewise, by name; 0 where the scan was cropped."""
        grid, made = self._geometry.file_grid, self._maps
        return {name: from_canonical(made.pop(name)[1], grid) for name in list(made)}

    def _vote(self, made: Sequence[slice], scores: Array) -> "_Vote | None":
        """On the voxels that can be made now; None where there are none."""
        if not self._label_set.region_training:
            # Some class is above the mean, and interpolation keeps to the range of its voxels.
            least = float(scores.sum(axis=0).min()) / len(scores)
            self._threshold = min(self._threshold, least * (1 - _ROUNDING))
        if any(part.start >= part.stop for part in made):
            return None
        target = self._labels[self._in_scan(made)]
        running = not self._label_set.region_training
        return _Vote(target, made, self._resampling, self._threshold, running)

    def _map(self, name: str) -> tuple[Neighbours, Array]:
        if name not in self._maps:
            whole = np.zeros(self._geometry.canonical_shape, dtype=np.float32)
            self._maps[name] = (self._neighbours(1), whole)
        return self._maps[name]

    def _neighbours(self, count: int) -> Neighbours:
        return Neighbours(count, self._geometry.resampled_shape, self._axes, self._resampling)

    def _in_scan(self, made: Sequence[slice]) -> Box:
        """Voxels of what was cropped to, in the scan."""
        depth, height, width = (
            slice(start + part.start, start + part.stop)
            for (start, _), part in zip(self._geometry.box, made, strict=True)
        )
        return depth, height, width


class _Vote:
    """Which output a voxel of a block goes to.

    Args:
        target: (d, h, w) label values, filled.
        made: where that is.
        resampling: makes scores of it.
        threshold: a score that is not above it never wins.
        running: whether the highest score wins, the first of equal ones; else later outputs are
            written over earlier ones (nnU-Net's ``regions_class_order``).
    """

    def __init__(
        self,
        target: NDArray[Any],
        made: Sequence[slice],
        resampling: BoxResampling,
        threshold: float,
        running: bool,
    ) -> None:
        self._target, self._made, self._resampling = target, made, resampling
        self._threshold = np.float32(threshold)
        self._best = np.full(target.shape, threshold, dtype=np.float32) if running else None

    def add(self, value: int, voxels: Array, origin: Sequence[int]) -> None:
        """One output on the prepared grid, and where that array begins."""
        part = self._within_reach(voxels, origin)
        if part is None:
            return
        scores = self._resampling.make(voxels, origin, part)
        there = tuple(
            slice(one.start - whole.start, one.stop - whole.start)
            for one, whole in zip(part, self._made, strict=True)
        )
        if self._best is None:
            np.copyto(self._target[there], value, where=scores > self._threshold)
            return
        best = self._best[there]
        wins = scores > best
        np.copyto(self._target[there], value, where=wins)
        np.copyto(best, scores, where=wins)

    def _within_reach(self, voxels: Array, origin: Sequence[int]) -> Sequence[slice] | None:
        """The voxels that can be won; None where there are none."""
        if voxels.max() <= self._threshold:
            return None
        above = voxels > self._threshold
        part = []
        for axis, (start, made) in enumerate(zip(origin, self._made, strict=True)):
            others = tuple(other for other in range(3) if other != axis)
            old = extent_of(np.asarray(above.any(axis=others)))
            new = self._resampling.touched(axis, slice(old.start + start, old.stop + start))
            part.append(slice(max(new.start, made.start), min(new.stop, made.stop)))
        return None if any(one.start >= one.stop for one in part) else part


def restore_label_map(
    scores: NDArray[np.floating[Any]], geometry: SourceGeometry, plan: Plan
) -> NDArray[Any]:
    """Label values on the scan's grid, in the file's own axis order, of scores that are all there.

    Args:
        scores: (K, D, H, W) probabilities on the prepared grid: classes with the background, or
            regions.
        geometry: of the case.
        plan: classes or regions, and the label values they are written as.
    """
    restoration = Restoration(geometry, plan)
    restoration.add(_everywhere(geometry), np.asarray(scores, dtype=np.float32))
    return restoration.label_map()


class ProbabilityArray:
    """Probabilities on the scan's grid, float16.

    Outside the box that was not zero, background is certain.

    Args:
        geometry: of the case.
        plan: how many there are, and whether the first is the background.
    """

    def __init__(self, geometry: SourceGeometry, plan: Plan) -> None:
        self._grid = geometry.file_grid
        self._canonical = np.zeros((plan.output_channels, *geometry.canonical_shape), np.float16)
        if not plan.label_set.region_training:
            self._canonical[0] = 1

    def write(self, index: int, box: Box, scores: Array) -> None:
        """See `ClassSink`."""
        self._canonical[index][box] = scores

    def whole(self) -> NDArray[np.float16]:
        """(K, ...) in the file's own axis order; nothing can be written any more."""
        made = self._canonical.reshape(len(self._canonical), *self._grid.shape)
        for index, voxels in enumerate(self._canonical):
            made[index] = contiguous(from_canonical(voxels.copy(), self._grid))
        return made


def _everywhere(geometry: SourceGeometry) -> Box:
    depth, height, width = geometry.resampled_shape
    return slice(0, depth), slice(0, height), slice(0, width)


def label_map_of(scores: Iterable[Array], labels: LabelSet) -> NDArray[Any]:
    """Label values of probabilities that come class by class, or region by region.

    Args:
        scores: of each class, the background first, or of each region; all of one shape. The
            first is used up.
        labels: what they are of.
    """
    every = iter(scores)
    first = next(every)
    made = np.zeros(first.shape, dtype=_kind(labels))
    if labels.region_training:
        _regions(made, chain([first], every), labels)
    else:
        _classes(made, first, every, labels)
    return made


def _kind(labels: LabelSet) -> type[np.uint8 | np.uint16]:
    """As few bytes as hold the label values."""
    return np.uint8 if max(labels.values) <= np.iinfo(np.uint8).max else np.uint16


def _classes(
    made: NDArray[Any],
    best: Array,
    others: Iterator[Array],
    labels: LabelSet,
) -> None:
    for value, class_scores in zip(labels.class_values[1:], others, strict=True):
        made[class_scores > best] = value
        np.maximum(best, class_scores, out=best)


def _regions(made: NDArray[Any], scores: Iterator[Array], labels: LabelSet) -> None:
    """Later regions are written over earlier ones (nnU-Net's ``regions_class_order``)."""
    for value, region_scores in zip(labels.region_values, scores, strict=True):
        made[region_scores > _REGION_THRESHOLD] = value
