"""Probabilities on the prepared grid back to a label map."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.restore import restore_label_map
from mednext_cli.settings.labels import LabelSet
from mednext_cli.settings.plan import ChannelNormalisation, Plan

GEOMETRY: dict[str, Any] = {
    "file_shape": (6, 5, 4),
    "file_affine": tuple(tuple(row) for row in np.eye(4).tolist()),
    "canonical_shape": (4, 5, 6),
    "spacing_mm": (1.0, 1.0, 1.0),
    "box": ((0, 4), (0, 5), (0, 6)),
    "resampled_shape": (4, 5, 6),
}


@pytest.mark.parametrize(
    "change",
    [
        {"file_shape": ("6", 5, 4)},
        {"file_shape": (6.0, 5, 4)},
        {"canonical_shape": (0, 5, 6)},
        {"spacing_mm": (0.0, 1.0, 1.0)},
        {"box": ((0, 5), (0, 5), (0, 6))},
        {"box": ((2, 2), (0, 5), (0, 6))},
    ],
)
def test_a_geometry_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SourceGeometry(**{**GEOMETRY, **change})


@pytest.mark.parametrize(("value", "kind"), [(1, np.uint8), (255, np.uint8), (256, np.uint16)])
@pytest.mark.parametrize("region_training", [False, True])
def test_labels_are_stored_in_as_few_bytes_as_hold_them(
    value: int, kind: type[np.generic], region_training: bool
) -> None:
    labels = LabelSet(
        {"organ": value},
        {"organ": (value,)},
        region_training=region_training,
        region_values=(value,) if region_training else (),
    )
    plan = Plan(
        dataset="one",
        layout="folder",
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=(16, 16, 32),
        batch_size=1,
        channels=("CT",),
        normalisation=(ChannelNormalisation(scheme="none"),),
        label_set=labels,
    )
    organ = np.zeros((4, 5, 6), bool)
    organ[1:3, 2:4, 3:5] = True
    scores = np.stack([organ] if region_training else [~organ, organ]).astype(np.float32)
    geometry = SourceGeometry(**GEOMETRY)
    made = restore_label_map(scores, geometry, plan)
    assert made.dtype == kind
    assert (made == np.where(organ.transpose(), value, 0)).all()
