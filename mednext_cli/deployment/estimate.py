"""How long a sheet will take, before it begins: a small tile in each of its processes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

from mednext_cli.datasets.dataset import Case
from mednext_cli.deployment.configurations import Configuration, list_configurations
from mednext_cli.deployment.doubts import is_open
from mednext_cli.deployment.process import time_tile_apart
from mednext_cli.deployment.specification import ClinicalSheetSpec
from mednext_cli.deployment.store import Measurements
from mednext_cli.foundation.progress import track
from mednext_cli.inference.archives import Scratch

_SECONDS_A_VOXEL = 1.5e-7  # of the scan and channel or class, for all but the network, of one core
_SECONDS_TO_START = 5.0


@dataclass(frozen=True)
class ExpectedConfiguration:
    """One line of a plan.

    Attributes:
        name: of the configuration.
        tiles: of one prediction, if nothing of the scan is cropped.
        seconds: one prediction; None where the configuration cannot be measured.
        total_seconds: all predictions of it; 0 where it is measured already.
        note: why it cannot be measured, or that it is.
    """

    name: str
    tiles: int
    seconds: float | None
    total_seconds: float
    note: str = ""


@dataclass(frozen=True)
class ClinicalSheetPlan:
    """What a sheet would measure, and about how long that takes."""

    configurations: tuple[ExpectedConfiguration, ...]

    @property
    def seconds(self) -> float:
        """All together."""
        return sum(one.total_seconds for one in self.configurations)


def plan_clinical_sheet(spec: ClinicalSheetSpec) -> ClinicalSheetPlan:
    """List the configurations and say about how long each takes; nothing is written.

    Raises:
        MednextError: as `clinical_sheet`.
    """
    with Scratch() as scratch, TemporaryDirectory(prefix="mednext-") as folder:
        configurations = list_configurations(spec, scratch)
        kept = Measurements(spec.out)
        return ClinicalSheetPlan(tuple(_expect_all(configurations, kept, Path(folder))))


def _expect_all(
    configurations: Sequence[Configuration], kept: Measurements, folder: Path
) -> list[ExpectedConfiguration]:
    lines = []
    with track("trying a tile of each", len(configurations), "configurations") as progress:
        for one in configurations:
            lines.append(_expect(one, folder) if is_open(one, kept.get(one.key)) else _known(one))
            progress.advance(note=one.name)
    return lines


def _known(one: Configuration) -> ExpectedConfiguration:
    return ExpectedConfiguration(one.name, one.tiles, None, 0.0, "measured already")


def _expect(one: Configuration, folder: Path) -> ExpectedConfiguration:
    if one.missing:
        return ExpectedConfiguration(one.name, one.tiles, None, 0.0, one.missing)
    case = Case("none", ())  # the scan is not looked at
    found = time_tile_apart(one.task(case, one.subject.files(folder), folder / "none.nii.gz"))
    if not isinstance(found, float):
        return ExpectedConfiguration(one.name, one.tiles, None, 0.0, found.problem)
    voxels = prod(one.subject.models[0].plan.patch_voxels)
    maps = one.scan.channels + one.subject.plan.output_channels
    seconds = found * voxels * one.tiles + _SECONDS_A_VOXEL * prod(one.scan.grid.shape) * maps
    total = _SECONDS_TO_START + seconds * (1 + one.repeats)
    return ExpectedConfiguration(one.name, one.tiles, seconds, total)
