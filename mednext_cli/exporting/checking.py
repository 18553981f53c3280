"""Whether an exported network computes what PyTorch does, on made images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.engine import Activation, activation_of
from mednext_cli.inference.models import Model
from mednext_cli.networks.patches import Patch, shown_patch
from mednext_cli.networks.spec import NetworkSpec

Array = NDArray[np.float32]
TOLERANCE = 1e-4
"""How far a logit may be off, as a share of the largest one: float32 in another order."""
_CHECKED_VOXELS = 64  # along an axis
_TIE = 1e-5  # of the largest logit: two that are nearer have no order that rounding leaves alone


@dataclass(frozen=True)
class Agreement:
    """How an exported network compares with PyTorch.

    Attributes:
        voxels: compared.
        other_labels: of them, those with another label.
        ties: voxels besides, whose label hangs on rounding and came out differently.
        difference: largest one of a logit, as a share of the largest logit.
    """

    voxels: int
    other_labels: int
    ties: int
    difference: float

    def __str__(self) -> str:
        ties = f" but {self.ties} ties" if self.ties else ""
        return (
            f"labels equal to PyTorch's in {self.voxels} voxels{ties}, "
            f"logits within {self.difference:.1e} of the largest"
        )

    def check(self, what: str) -> None:
        """Raise `SettingsError` unless the labels are equal, and logits within `TOLERANCE`."""
        if self.other_labels:
            raise SettingsError(
                f"{what} is not kept: its labels differ from PyTorch's in {self.other_labels} of "
                f"{self.voxels} voxels",
                "Use --to safetensors.",
            )
        if not self.difference <= TOLERANCE:  # NaN, too
            raise SettingsError(
                f"{what} is not kept: its logits differ from PyTorch's by {self.difference:.1e} of "
                f"the largest, more than {TOLERANCE:g}",
                "Use --to safetensors.",
            )


def compare(
    network: nn.Module,
    exported: Callable[[Array], Array],
    images: Sequence[Tensor],
    activation: Activation,
) -> Agreement:
    """Run both on each image (B, C, D, H, W).

    Args:
        network: PyTorch's, in evaluation mode, on the CPU.
        exported: takes such an image and gives logits (B, K, D, H, W).
        images: float32.
        activation: decides what a label is: the largest logit, or the sign of each.
    """
    voxels = other = ties = 0
    difference = 0.0
    for image in images:
        with torch.inference_mode():
            expected: Array = network(image).numpy()
        found = exported(image.numpy())
        if found.shape != expected.shape:
            return Agreement(expected[:, 0].size, expected[:, 0].size, 0, np.inf)
        scale = float(np.abs(expected).max()) or 1.0
        lost = _lost(expected, found, activation) / scale
        voxels += lost.size
        other += int((lost > _TIE).sum())
        ties += int(((lost > 0) & (lost <= _TIE)).sum())
        difference = max(difference, float(np.abs(found - expected).max()) / scale)
    return Agreement(voxels, other, ties, difference)


def check_export(
    model: Model, network: nn.Module, exported: Callable[[Array], Array], path: Path
) -> str:
    """Compare a file with PyTorch, on other patches than it was traced with where it takes any.

    Args:
        model: what was exported.
        network: of it, in evaluation mode.
        exported: see `compare`.
        path: that the file will have.

    Returns:
        What was found, and where the file is for one patch alone, that.

    Raises:
        SettingsError: it computes something else.
    """
    spec, patch_voxels = model.checkpoint.network, model.graph_patch
    patches = _patches_to_check(spec, patch_voxels)
    images = [make_image(spec, patch, seed) for seed, patch in enumerate(patches)]
    agreement = compare(network, exported, images, activation_of(model.plan))
    agreement.check(str(path))
    note = "" if spec.has_one_graph else f"; for {shown_patch(patch_voxels)} voxels only"
    return f"{agreement}{note}"


def _patches_to_check(spec: NetworkSpec, patch_voxels: Patch) -> list[Patch]:
    if not spec.has_one_graph:
        return [patch_voxels]
    rule = spec.patch_rule
    first = rule.fit([min(length, _CHECKED_VOXELS) for length in patch_voxels])
    return [first, rule.fit([first[0], first[1] / 2, 2 * first[2]])]


def _lost(expected: Array, found: Array, activation: Activation) -> Array:
    """By voxel, how much lower `expected` is for the label of `found` than for its own; 0: same."""
    if activation == "sigmoid":
        return np.where((expected > 0) != (found > 0), np.abs(expected), np.float32(0))
    label = found.argmax(1, keepdims=True)
    lost: Array = expected.max(1, keepdims=True) - np.take_along_axis(expected, label, 1)
    return lost


def make_image(spec: NetworkSpec, patch_voxels: Patch, seed: int = 0) -> Tensor:
    """(1, C, D, H, W) of blobs and noise, normalised; the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    coarse = [max(length // 8, 1) for length in patch_voxels]
    blobs = torch.randn(1, spec.in_channels, *coarse, generator=generator)
    smooth = F.interpolate(blobs, size=patch_voxels, mode="trilinear", align_corners=False)
    noise = torch.randn(smooth.shape, generator=generator)
    image = 2 * smooth + 0.5 * noise
    return (image - image.mean()) / image.std()
