"""What nnU-Net Revisited took on an A100, beside what is estimated for it.

    python benchmarks/scale_anchors.py   (needs the extra baselines; a minute, no GPU)

14 classes, one channel, batch 2, half precision, 250,000 steps.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.patches import shown_patch
from mednext_cli.scaling.device_sheets import find_sheet
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.published import REVISITED
from mednext_cli.scaling.roofline import estimate_time
from mednext_cli.scaling.specification import ReportedNetwork, ScaleReportSpec

_CLASSES, _BATCH, _COPIES = 14, 2, 3


def main() -> None:
    """Write a row a network."""
    parser = argparse.ArgumentParser(description="published hours and memory, and the estimates")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scale_anchors.csv"))
    options = parser.parse_args()
    rows = []
    for network in _networks():
        rows.append(_row(network))
        print(rows[-1], flush=True)
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _networks() -> Iterator[ReportedNetwork]:
    spec = ScaleReportSpec(models=("L",), out_channels=_CLASSES)
    yield from spec.reported()
    for name, trained in REVISITED.items():
        if not name.startswith("L-"):
            asked = replace(spec, networks=(name,), patch_voxels=trained.patch_voxels)
            yield from asked.reported()


def _row(network: ReportedNetwork) -> dict[str, object]:
    dry, sheet, published = DryNetwork(network.spec), find_sheet("a100"), REVISITED[network.label]
    run = dry.train(network.patch_voxels, _BATCH, torch.bfloat16, network.checkpointing)
    time = estimate_time(run.work, dry.weights_bytes, sheet)
    gib = (run.peak_bytes + _COPIES * dry.weights_bytes) / GIB
    return {
        "network": network.label,
        "patch_voxels": shown_patch(network.patch_voxels),
        "checkpointing": network.checkpointing,
        "estimated_gib": round(gib, 1),
        "published_vram_gb": published.vram_gb,
        "floor_hours": round(time.floor_hours(), 1),
        "estimated_hours": round(time.hours(), 1),
        "published_a100_hours": published.a100_hours,
    }


if __name__ == "__main__":
    main()
