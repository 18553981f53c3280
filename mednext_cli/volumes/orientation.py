"""One orientation for all scans: (D, H, W) = (inferior-superior, posterior-anterior, left-right).

Only flips and permutations of the axes: no voxel is interpolated. An oblique scan stays oblique,
its axes are named by the direction they come nearest to.
"""

from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.volume import Affine, Grid, Shape, Spacing, Volume

Number = TypeVar("Number", bound=np.generic)
_CANONICAL = np.array([(2, 1), (1, 1), (0, 1)], dtype=np.float64)  # S, A, R, as nibabel has it


@cache
def _orientations() -> Any:  # noqa: ANN401 - nibabel is untyped
    """Nibabel's, imported with the first scan: a call that reads none does without."""
    import nibabel.orientations

    return nibabel.orientations


def to_canonical(volume: Volume) -> Volume:
    """The same voxels with their axes in canonical order and direction; the affine follows."""
    change = _change(volume.affine)
    array = _orientations().apply_orientation(volume.array, change)
    turn = _orientations().inv_ornt_aff(change, volume.array.shape)
    return Volume(contiguous(array), volume.affine @ turn)


def empty_as_canonical(grid: Grid, kind: type[Number]) -> NDArray[Number]:
    """Voxels to be filled, in the file's own axis order.

    Their memory is that of `to_canonical`'s result, which need not copy them.
    """
    made = np.empty(canonical_sizes(grid)[0], dtype=kind)
    return turned_back(made, grid)


@np.errstate(over="ignore", invalid="ignore")  # infinite: checked where it matters
def laid_as_canonical(
    values: NDArray[Any], grid: Grid, scaling: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Values as float32 in the file's own axis order, in memory as `empty_as_canonical` has it.

    Args:
        values: as they are stored, of the grid's shape.
        grid: of the file.
        scaling: slope and intercept, applied in double precision; None for none.
    """
    made = np.empty(canonical_sizes(grid)[0], dtype=np.float32)
    _lay(_orientations().apply_orientation(values, _change(grid.affine)), made, scaling)
    return turned_back(made, grid)


def canonical_sizes(grid: Grid) -> tuple[Shape, Spacing]:
    """Voxels and their distances (mm) along D, H, W, of a grid in the file's own order."""
    depth, height, width = (int(axis) for axis in np.argsort(_change(grid.affine)[:, 0]))
    shape, spacing = grid.shape, grid.spacing_mm
    return (
        (shape[depth], shape[height], shape[width]),
        (spacing[depth], spacing[height], spacing[width]),
    )


def from_canonical(array: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Undo `to_canonical`; in memory the first axis is the fastest, as files have it.

    Args:
        array: (D, H, W) in canonical order.
        grid: of the file, in its own order.
    """
    return contiguous(turned_back(array, grid).T).T


def turned_back(array: NDArray[Number], grid: Grid) -> NDArray[Number]:
    """A view of a canonical array, or of a part of it, in the order of the file."""
    axes = file_axes(grid)
    array = np.flip(array, tuple(axis for axis, against in axes if against))
    return array.transpose(*(axis for axis, _ in axes))


def file_axes(grid: Grid) -> tuple[tuple[int, bool], tuple[int, bool], tuple[int, bool]]:
    """For each axis of a file, which canonical axis it is (0 to 2), and whether it runs against it.

    Args:
        grid: of the file, in its own order.
    """
    back = _orientations().ornt_transform(_CANONICAL, _orientations().io_orientation(grid.affine))
    first, second, third = (int(axis) for axis in np.argsort(back[:, 0]))
    against = [bool(direction < 0) for direction in back[:, 1]]
    return (first, against[first]), (second, against[second]), (third, against[third])


def place_from_canonical(
    region: tuple[slice, slice, slice], grid: Grid
) -> tuple[slice, slice, slice]:
    """Where on a file's axes the result of `from_canonical` lies, of a part of the canonical grid.

    Args:
        region: of (D, H, W), with start and stop.
        grid: of the whole file, in its own order.
    """
    placed = []
    for (axis, against), length in zip(file_axes(grid), grid.shape, strict=True):
        start, stop = region[axis].start, region[axis].stop
        placed.append(slice(length - stop, length - start) if against else slice(start, stop))
    return placed[0], placed[1], placed[2]


def turned_onto(volume: Volume, grid: Grid) -> Volume | None:
    """The volume with its axes in the order and direction of `grid`, and its affine.

    No voxel is interpolated: None where the voxels lie elsewhere, whichever way they are counted.
    Tools that convert one scan store it in different orders.
    """
    if volume.grid.same_as(grid):
        return Volume(volume.array, grid.affine)
    if not _canonical_grid(volume.grid).same_as(_canonical_grid(grid)):
        return None
    return Volume(from_canonical(to_canonical(volume).array, grid), grid.affine)


def on_another_grid(what: object, grid: Grid, other: object, expected: Grid) -> str:
    """The sentence for a scan or label map that does not lie where another one does.

    Args:
        what: its path or name.
        grid: its own.
        other: path or name of what it belongs to.
        expected: the grid of that.
    """
    return f"{what} lies on another grid than {other}: {difference(grid, expected)}"


def difference(grid: Grid, expected: Grid) -> str:
    """How a grid differs from the one that was expected, a clause.

    Whichever way the two count their voxels.
    """
    own, other = _canonical_grid(grid), _canonical_grid(expected)
    if own.shape != other.shape:
        shapes = [" x ".join(map(str, shape)) for shape in (grid.shape, expected.shape)]
        return f"its shape is {shapes[0]}, not {shapes[1]}"
    voxels, mm = own.distance_from(other)
    return f"its corners lie up to {voxels:.3g} voxels ({mm:.3g} mm) away"


def _canonical_grid(grid: Grid) -> Grid:
    change = _change(grid.affine)
    depth, height, width = (grid.shape[int(axis)] for axis in np.argsort(change[:, 0]))
    turn = _orientations().inv_ornt_aff(change, grid.shape)
    return Grid((depth, height, width), grid.affine @ turn)


def contiguous(array: NDArray[Number]) -> NDArray[Number]:
    """Three axes in C order; the same array where they are, else a copy, faster than NumPy's."""
    if array.flags.c_contiguous:
        return array
    made = np.empty(array.shape, dtype=array.dtype)
    _lay(array, made)
    return made


def _lay(
    array: NDArray[Any], made: NDArray[Any], scaling: tuple[float, float] | None = None
) -> None:
    """Copy (D, H, W) of any order into C order, plane by plane, 2 to 5 times as fast as NumPy.

    A plane holds the nearest voxels of both orders. It is first copied as it lies, into memory
    that the processor keeps at hand: NumPy alone fetches a line of memory for every voxel.
    """
    nearest = int(np.argmin(np.abs(array.strides)))
    across = 1 - nearest if nearest < 2 else 0
    for target, source in zip(
        np.moveaxis(made, across, 0), np.moveaxis(array, across, 0), strict=True
    ):
        plane = source if nearest == 2 else np.ascontiguousarray(source.T).T
        target[...] = plane if scaling is None else _scaled(plane, scaling)


def _scaled(plane: NDArray[Any], scaling: tuple[float, float]) -> NDArray[np.float64]:
    slope, inter = scaling
    scaled: NDArray[np.float64] = plane.astype(np.float64) * slope + inter
    return scaled


def _change(affine: Affine) -> NDArray[Any]:
    found = _orientations().io_orientation(affine)
    change: NDArray[Any] = _orientations().ornt_transform(found, _CANONICAL)
    return change
