"""What every file format of scans is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.volume import Grid, Volume


@dataclass(frozen=True, eq=False)
class Template:
    """The scan that a label map is to lie on.

    Attributes:
        path: of the scan.
        grid: where its voxels lie, in the file's own axis order.
        header: nibabel's NIfTI header as it is in the file; None of another format.
    """

    path: Path
    grid: Grid
    header: Any = None


class Format(ABC):
    """A file format, or a family of formats that one library reads.

    Arrays have the file's own axis order; affines are in millimetres, RAS.

    Attributes:
        endings: of the names of its files, in lower case; none where names do not tell.
        suffix: of the label maps that it writes; "" where it writes none.
    """

    endings: tuple[str, ...] = ()
    suffix: str = ""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether a file or folder is of this format, by its name or its first bytes."""

    @abstractmethod
    def read_grid(self, path: Path, index: int | None = None) -> Grid:
        """Shape and affine of a scan, from its header or headers alone.

        Raises:
            ScanError: as `read_volumes`, as far as headers tell.
        """

    @abstractmethod
    def read_volumes(self, path: Path, indices: Sequence[int | None]) -> Iterator[Volume]:
        """Several volumes of a file as float32, (X, Y, Z) each, its scaling applied.

        The file is unpacked once where the indices ascend, and one volume is held at a time.

        Args:
            path: a file, or the folder of a series.
            indices: which volumes of a file with four axes, or components of its voxels, to take;
                None for a 3D file.

        Raises:
            ScanError: missing, unreadable or damaged; not 3D, or without such a volume; spacing
                or affine that describe no grid. Damage may be noticed at the last volume only.
        """

    def read_volume(self, path: Path, index: int | None = None) -> Volume:
        """One volume, as `read_volumes` gives it."""
        (volume,) = self.read_volumes(path, (index,))
        return volume

    @abstractmethod
    def read_label_map(self, path: Path) -> Volume:
        """A label map (X, Y, Z) as integers, in the smallest type that holds them.

        Raises:
            ScanError: as `read_volumes`; or values that are not whole numbers from 0 to 65535, but
                for what the stored type and its scaling round.
        """

    def write_label_map(
        self, path: Path, array: NDArray[Any], like: Template, names: Mapping[str, int]
    ) -> None:
        """Write labels on the grid of a scan.

        Args:
            path: the file to write; ends in `suffix`.
            array: label values (X, Y, Z) in the axis order of the scan's file.
            like: the scan, of any format.
            names: label value by name, for formats that keep names.

        Raises:
            ScanError: `array` has another shape than the scan, or the format is not written.
                StorageError: the disk refuses.
        """
        raise ScanError(f"{path}: label maps are not written in this format", "End it in .nii.gz.")

    def template(self, path: Path) -> Template:
        """What a label map on this scan is made like.

        Raises:
            ScanError: as `read_grid`.
        """
        return Template(path, self.read_grid(path))

    def read_first_plane(self, path: Path) -> NDArray[Any] | None:
        """The first values of a 3D scan, (X, Y); None where they are not to be had alone.

        Raises:
            ScanError: as `read_volumes`, as far as these values tell.
        """
        return None

    def notes(self, path: Path) -> tuple[str, ...]:
        """What is odd about where a scan lies, though it can be used; a line each.

        Raises:
            ScanError: as `read_grid`.
        """
        return ()

    def files_of(self, path: Path) -> list[Path]:
        """The files that a scan consists of.

        Raises:
            ScanError: they cannot be found.
        """
        return [path]
