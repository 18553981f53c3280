"""Slices of the patches of validation, the same after every epoch, with what is predicted there."""

import colorsys

import torch
from torch import Tensor

_MOST = 3  # patches
_OPACITY = 0.5
_CONTRAST = (0.01, 0.99)  # quantiles of a slice that are black and white


class FixedSlices:
    """Looks at the first patches of a validation.

    Attributes:
        drawings: reference left, prediction right, (3, H, 2 W) from 0 to 1; one a patch.
    """

    def __init__(self) -> None:
        self.drawings: list[Tensor] = []

    def look(self, images: Tensor, predicted: Tensor, present: Tensor) -> None:
        """Draw the first patch of a batch, across its first axis where most is labelled.

        Args:
            images: (B, C, D, H, W); the first channel is drawn.
            predicted: regions (B, K, D, H, W).
            present: those of the reference.
        """
        if len(self.drawings) == _MOST:
            return
        depth = int(present[0].sum((0, 2, 3)).argmax())
        grey = _stretch(images[0, 0, depth].float().cpu())
        sides = (_tint(grey, masks[0, :, depth].cpu()) for masks in (present, predicted))
        self.drawings.append(torch.cat(list(sides), dim=2))


def _stretch(image: Tensor) -> Tensor:
    """Intensities (H, W) from 0 to 1."""
    low, high = torch.quantile(image, torch.tensor(_CONTRAST))
    stretched: Tensor = (image - low) / (high - low).clamp(min=1e-6)
    return stretched.clamp(0, 1)


def _tint(grey: Tensor, masks: Tensor) -> Tensor:
    """A slice (3, H, W) with regions (K, H, W) in colours; later ones lie on top."""
    picture = grey.expand(3, -1, -1).clone()
    for number, mask in enumerate(masks):
        colour = torch.tensor(colorsys.hsv_to_rgb(number / len(masks), 1.0, 1.0)).view(3, 1, 1)
        picture = torch.where(mask, (1 - _OPACITY) * grey + _OPACITY * colour, picture)
    return picture
