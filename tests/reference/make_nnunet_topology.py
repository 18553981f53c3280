"""Makes `nnunet_topology.json`: stages that nnU-Net chooses for patches and spacings.

python tests/reference/make_nnunet_topology.py
"""

import json
import random
from pathlib import Path

from nnunetv2.experiment_planning.experiment_planners.network_topology import (
    get_pool_and_conv_props,
)

OUT = Path(__file__).with_name("nnunet_topology.json")
SHORTEST, MOST = 4, 999_999  # as nnU-Net's planner asks
# (D, H, W) or (H, W) voxels, spacing in mm
NAMED: list[tuple[list[int], list[float]]] = [
    ([128, 128, 128], [1, 1, 1]),
    ([160, 160, 160], [1, 1, 1]),
    ([32, 48, 32], [1, 1, 1]),
    ([28, 256, 256], [6, 0.75, 0.75]),
    ([16, 320, 320], [3.6, 0.625, 0.625]),
    ([64, 192, 160], [2, 1, 1]),
    ([10, 10, 12], [1, 1, 1]),
    ([7, 7, 12], [1, 1, 1]),
    ([7, 7, 11], [1, 1, 1]),
    ([8, 40, 40], [2, 1, 1]),
    ([512, 512], [0.75, 0.75]),
    ([56, 320], [1.9, 0.6]),
]


def main() -> None:
    """Write the named cases, and others drawn by chance."""
    chance = random.Random(0)
    drawn = [
        (
            [chance.randint(4, 256) for _ in range(3)],
            [round(chance.uniform(0.4, 6), 2) for _ in range(3)],
        )
        for _ in range(40)
    ]
    cases = []
    for patch, spacing in NAMED + drawn:
        _, strides, kernels, *_ = get_pool_and_conv_props(spacing, patch, SHORTEST, MOST)
        cases.append(
            {"patch": patch, "spacing": spacing, "strides": strides, "kernel_sizes": kernels}
        )
    OUT.write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


if __name__ == "__main__":
    main()
