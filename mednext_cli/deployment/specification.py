"""What a clinical sheet is asked for."""

from dataclasses import dataclass
from pathlib import Path

from mednext_cli.deployment.scans import MADE_UP
from mednext_cli.foundation.errors import SettingsError, check_choice, nearest
from mednext_cli.foundation.machine import usable_cores
from mednext_cli.networks.mednext.variants import VARIANTS
from mednext_cli.settings.sections import Precision

_MOST_REPEATS, _MOST_CLASSES = 100, 256


@dataclass(frozen=True)
class ClinicalSheetSpec:
    """What to measure: every network on every scan, by every engine, precision and thread count.

    Attributes:
        models: a trained network (checkpoints, run folders, folders of folds or names; several are
            averaged, as `predict` does); empty for untrained ones, which cost the same.
        sizes: of untrained MedNeXts.
        kernels: of them, voxels.
        base_channels: of them, at full resolution.
        classes: of untrained networks, with the background.
        patch_voxels: (D, H, W), the tiles of untrained networks.
        spacing_mm: (D, H, W), what scans are resampled to for untrained networks.
        scan: a scan of one's own, as `predict` takes it; None for made-up ones.
        volumes: the made-up ones: ct, mr; None for both, or of a trained network what fits it.
        engines: torch, openvino, onnx or a plugin's.
        precisions: auto, float32, bfloat16 or float16.
        threads: cores that a prediction may use; None for one configuration with all.
        device: auto, cpu, cuda, cuda:N or mps.
        overlap: share of a tile that the next one covers; None for the recipe's, or 0.5.
        mirror: average mirrored images; None for the recipe's, or without where untrained.
        repeats: predictions after the first of a process.
        out: folder for the sheet.

    Raises:
        SettingsError: a value that cannot be.
    """

    models: tuple[Path, ...] = ()
    sizes: tuple[str, ...] = ("S",)
    kernels: tuple[int, ...] = (3,)
    base_channels: int = 32
    classes: int = 3
    patch_voxels: tuple[int, int, int] = (128, 128, 128)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scan: Path | None = None
    volumes: tuple[str, ...] | None = None
    engines: tuple[str, ...] = ("torch",)
    precisions: tuple[Precision, ...] = ("auto",)
    threads: tuple[int, ...] | None = None
    device: str = "auto"
    overlap: float | None = None
    mirror: bool | None = None
    repeats: int = 5
    out: Path = Path("clinical")

    def __post_init__(self) -> None:
        for size in self.sizes:
            if size not in VARIANTS:
                raise SettingsError(f"unknown size {size!r}", nearest(size, list(VARIANTS)))
        for volume in self.volumes or ():
            if volume not in MADE_UP:
                raise SettingsError(f"unknown volume {volume!r}", nearest(volume, list(MADE_UP)))
        for precision in self.precisions:
            check_choice("--precisions", precision, Precision)
        if self.scan is not None and self.volumes is not None:
            raise SettingsError("--scan and --volumes are two answers", "Give one of them.")
        if not 1 <= self.repeats <= _MOST_REPEATS:
            raise SettingsError(f"--repeats {self.repeats}", f"Give 1 to {_MOST_REPEATS}.")
        if not 2 <= self.classes <= _MOST_CLASSES:
            raise SettingsError(f"--classes {self.classes}", f"Give 2 to {_MOST_CLASSES}.")
        self._check_threads()

    def _check_threads(self) -> None:
        cores = usable_cores()
        for count in self.threads or ():
            if not 1 <= count <= cores:
                raise SettingsError(
                    f"--threads {count} on a machine of {cores} cores", f"Give 1 to {cores}."
                )

    @property
    def thread_counts(self) -> tuple[int, ...]:
        """Each once, as given."""
        return tuple(dict.fromkeys(self.threads or (usable_cores(),)))
