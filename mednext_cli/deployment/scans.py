"""The scans that predictions are timed on: made-up ones of usual sizes, or one of one's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.deployment.drawing import draw_ct, draw_mr
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import replacing
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.identity import Identities
from mednext_cli.inference.sources import find_cases
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.scans import read_grid
from mednext_cli.volumes.volume import Grid, Shape, Spacing

_VERSION = 1  # of the drawings: figures of another version are not reused
Draw = Callable[[Grid, int], list[NDArray[np.int16]]]


@dataclass(frozen=True)
class MadeUp:
    """A scan of a usual size.

    Attributes:
        about: what it stands for.
        shape: (X, Y, Z), voxels.
        spacing_mm: (X, Y, Z).
        channels: where the network is untrained and so takes what there is.
        draw: grid and channels to the voxels of each channel (X, Y, Z).
    """

    about: str
    shape: Shape
    spacing_mm: Spacing
    channels: tuple[str, ...]
    draw: Draw

    @property
    def grid(self) -> Grid:
        """Axes to the left, to the back and upwards, as most scanners store them."""
        width, height, length = self.spacing_mm
        return Grid(self.shape, np.diag([-width, -height, length, 1.0]))


MADE_UP = {
    "ct": MadeUp("CT, abdomen, made up", (512, 512, 300), (0.8, 0.8, 1.5), ("CT",), draw_ct),
    "mr": MadeUp(
        "MR, brain, made up",
        (240, 240, 155),
        (1.0, 1.0, 1.0),
        ("T1", "T1CE", "T2", "FLAIR"),
        draw_mr,
    ),
}


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """A scan that networks are timed on.

    Attributes:
        name: short, for tables.
        about: what it is.
        grid: of its file.
        channels: how many.
        identity: equal where it is the same scan.
        case: its files; None for a made-up scan that is not drawn yet.
    """

    name: str
    about: str
    grid: Grid
    channels: int
    identity: str
    case: Case | None = None


def made_up_scan(name: str, plan: Plan) -> MeasuredScan:
    """The made-up scan of that name with as many channels as the plan has.

    Raises:
        SettingsError: the CT, which has one channel, for a network that takes several.
    """
    kind, channels = MADE_UP[name], len(plan.channels)
    if name == "ct" and channels > 1:
        raise SettingsError(
            f"the made-up CT has one channel, the network takes {channels} "
            f"({', '.join(plan.channels)})",
            "Give --volumes mr, or --scan with a scan of your own.",
        )
    identity = f"made up, version {_VERSION}: {name} {kind.shape} {kind.spacing_mm} {channels}"
    return MeasuredScan(name, kind.about, kind.grid, channels, identity)


def own_scan(path: Path, plan: Plan, scratch: Scratch) -> MeasuredScan:
    """A scan as `mednext predict` takes it; an archive is unpacked into `scratch`.

    Raises:
        DatasetError, ScanError: there is none, there are several, or it cannot be read.
    """
    cases = find_cases(path, plan, scratch=scratch)
    if len(cases) > 1:
        raise DatasetError(
            f"{path} holds {len(cases)} cases, {cases[0].id} to {cases[-1].id}", "Give one of them."
        )
    case = cases[0]
    grid = read_grid(case.channels[0].path, case.channels[0].index)
    content = Identities().of(case).content
    return MeasuredScan(case.id, f"{path.name}", grid, len(case.channels), str(content), case)


class Drawer:
    """Draws made-up scans into a folder, each once.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drawn: dict[str, Case] = {}

    def case_of(self, scan: MeasuredScan) -> Case:
        """The scan's files; drawn now where it is made up and was not.

        Raises:
            StorageError: the disk refuses.
        """
        if scan.case is not None:
            return scan.case
        if scan.identity not in self._drawn:
            self._drawn[scan.identity] = self._draw(scan)
        return self._drawn[scan.identity]

    def _draw(self, scan: MeasuredScan) -> Case:
        name = f"{scan.name}_{len(self._drawn)}"
        channels = []
        for index, voxels in enumerate(MADE_UP[scan.name].draw(scan.grid, scan.channels)):
            path = self._folder / f"{name}_{index:04d}.nii.gz"
            _write_nifti(path, voxels, scan.grid)
            channels.append(Channel(path))
        return Case(name, tuple(channels))


def _write_nifti(path: Path, voxels: NDArray[np.int16], grid: Grid) -> None:
    import nibabel

    build: Any = nibabel.Nifti1Image  # nibabel leaves it untyped
    image = build(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    with replacing(path, sync=False) as beside:
        nibabel.save(image, beside)
