"""What others published of the networks' costs and scores, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass

from mednext_cli.networks.patches import Patch

# Parameters (millions) and multiply-adds (10^9, 128^3 voxels): README of the published code.
PUBLISHED = {
    ("S", 3): (5.6, 130.0),
    ("S", 5): (5.9, 169.0),
    ("B", 3): (10.5, 170.0),
    ("B", 5): (11.0, 208.0),
    ("M", 3): (17.6, 248.0),
    ("M", 5): (18.3, 308.0),
    ("L", 3): (61.8, 500.0),
    ("L", 5): (63.0, 564.0),
}
DATASETS = ("BTCV", "ACDC", "LiTS", "BraTS21", "KiTS23", "AMOS22")
SOURCE = "nnU-Net Revisited (documentation/resenc_presets.md of nnU-Net v2)"


@dataclass(frozen=True)
class Remeasured:
    """A network as nnU-Net Revisited trained it, in one framework, on one kind of GPU.

    Attributes:
        dice: in percent, mean of five folds, on each of `DATASETS`.
        vram_gb: of the GPU in training, as nvidia-smi tells.
        a100_hours: of a training of one fold on an A100 of 40 GB.
        patch_voxels: what our estimate beside it takes; (128, 128, 128) unless its recipe says.
    """

    dice: tuple[float, float, float, float, float, float]
    vram_gb: float
    a100_hours: float
    patch_voxels: Patch = (128, 128, 128)

    @property
    def mean_dice(self) -> float:
        """Over the datasets, in percent."""
        return sum(self.dice) / len(self.dice)


# Measured again by people who did not publish MedNeXt, so these may be printed as facts.
REVISITED: Mapping[str, Remeasured] = {
    "nnunet": Remeasured((83.08, 91.54, 80.09, 91.24, 86.04, 88.64), 7.7, 9),
    "nnunet_resenc_m": Remeasured((83.31, 91.99, 80.75, 91.26, 86.79, 88.77), 9.1, 12),
    "nnunet_resenc_l": Remeasured(
        (83.35, 91.69, 81.60, 91.13, 88.17, 89.41), 22.7, 35, (192, 192, 192)
    ),
    "nnunet_resenc_xl": Remeasured(
        (83.28, 91.48, 81.19, 91.18, 88.67, 89.68), 36.6, 66, (256, 224, 224)
    ),
    "L-k3": Remeasured((84.70, 92.65, 82.14, 91.35, 88.25, 89.62), 17.3, 68),
    "L-k5": Remeasured((85.04, 92.62, 82.34, 91.50, 87.74, 89.73), 18.0, 233),
    "swin_unetr": Remeasured((78.89, 91.29, 76.50, 90.68, 81.27, 83.81), 13.1, 15),
    "nnformer": Remeasured((80.86, 92.40, 77.40, 90.22, 75.85, 81.55), 5.7, 8),
}
