"""What one process is to measure; nothing here loads numpy or PyTorch."""

from dataclasses import dataclass
from pathlib import Path

from mednext_cli.datasets.dataset import Case
from mednext_cli.settings.sections import Precision


@dataclass(frozen=True)
class Task:
    """One configuration.

    Attributes:
        models: checkpoint files; several are averaged.
        case: the scan.
        label_map: file that is written, again and again.
        engine: name of the engine.
        precision: of the forward pass.
        threads: cores that the process may use.
        device: where the networks compute.
        overlap: of tiles; None for the recipe's.
        mirror: None for the recipe's.
        repeats: predictions after the first.
        small_tile: (D, H, W) that the first network takes, to estimate how long all will take.
    """

    models: tuple[Path, ...]
    case: Case
    label_map: Path
    engine: str
    precision: Precision
    threads: int
    device: str
    overlap: float | None
    mirror: bool | None
    repeats: int
    small_tile: tuple[int, int, int]
