"""What a MONAI bundle names in its configuration: our network, normalisation and label values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.spec import read_spec
from mednext_cli.preprocessing.apply import normalise
from mednext_cli.preprocessing.restore import label_map_of
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation


def network(description: Mapping[str, Any]) -> nn.Module:
    """A fresh network, ready for evaluation.

    Args:
        description: of `NetworkSpec.dump`.

    Raises:
        SettingsError, PluginError: there is no such network here.
    """
    return build_plain(read_spec(description)).eval()


class Normalisation:
    """Brings the intensities of each channel to what the network was trained on.

    Args:
        channels: an entry a channel, as a plan's `normalisation`.
    """

    def __init__(self, channels: Sequence[Mapping[str, Any]]) -> None:
        self._channels = [ChannelNormalisation.model_validate(channel) for channel in channels]

    def __call__(self, image: Tensor) -> Tensor:
        """(C, D, H, W), cropped and resampled, to the same; a tensor's metadata stay."""
        voxels = np.array(image.detach().cpu().numpy(), dtype=np.float32)
        inside = (voxels != 0).any(0)
        for channel, settings in zip(voxels, self._channels, strict=True):
            normalise(channel, settings, inside if settings.use_nonzero_mask else None)
        made = image.clone()
        made[:] = torch.from_numpy(voxels)
        return made


class LabelMap:
    """Makes label values of probabilities.

    Args:
        labels: a plan's `label_set`.
    """

    def __init__(self, labels: Mapping[str, Any]) -> None:
        self._labels = LabelSet(**labels)

    def __call__(self, probabilities: Tensor) -> Tensor:
        """(K, D, H, W) of classes or regions to (1, D, H, W); a tensor's metadata stay."""
        values = label_map_of(
            np.array(probabilities.detach().cpu().numpy(), dtype=np.float32), self._labels
        )
        made = probabilities[:1].clone()
        made[0] = torch.from_numpy(values.astype(np.float32))
        return made
