"""What earlier versions of MONAI save in its residual blocks, and nothing uses."""

import re
from collections.abc import Mapping

from torch import Tensor

_SHORTCUT = re.compile(r"(?P<block>.+\.)conv3\.conv\.weight")


def without_unused_shortcuts(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights, of each residual block only the shortcut that it uses.

    Before its pull request 4317 (2022) MONAI gave every `UnetResBlock` a convolution for the
    shortcut, also those that add their input as it is; the published UNETR was saved so.

    Args:
        weights: under MONAI's names.
    """
    return {name: value for name, value in weights.items() if not _is_unused(name, weights)}


def _is_unused(name: str, weights: Mapping[str, Tensor]) -> bool:
    match = _SHORTCUT.fullmatch(name)
    if match is None:
        return False
    first = weights[match["block"] + "conv1.conv.weight"]  # all have a stride of 1
    return first.shape[0] == first.shape[1]
