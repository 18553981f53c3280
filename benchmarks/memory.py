"""Peak memory on the CPU, measured, beside what was estimated for it.

    python benchmarks/memory.py

A process each, one thread. The C library gives freed blocks back at once: what it would keep
between blocks is not the network's. bfloat16 is autocast. Measured is the growth of the process in
a step (the gradient with it, no optimiser) or a forward pass, after a smaller one.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from mednext_cli.networks.building import build_plain, run_all_heads
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.dry_run import segmentation_loss
from mednext_cli.scaling.measure import peak_gib
from mednext_cli.scaling.memory import estimate_memory
from mednext_cli.settings.recipe import ModelSettings

_PATCH = (48, 64, 48)
_NETWORKS = {"S-k3-w16": {"network": "mednext", "mednext": {"size": "S", "base_channels": 16}}}
_WORK = ("training", "checkpointed", "inference")


def main() -> None:
    """Write a row for each network, precision and kind of work."""
    parser = argparse.ArgumentParser(description="memory, measured and estimated")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory.csv"))
    parser.add_argument("--one", nargs=3, help="network, precision and work, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(*options.one)))
        return
    rows = []
    for what in _all():
        rows.append(_in_a_process(what))
        print(rows[-1], flush=True)
    with options.out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _all() -> Iterator[tuple[str, str, str]]:
    return (
        (name, precision, work)
        for name in _NETWORKS
        for precision in ("float32", "bfloat16")
        for work in _WORK
    )


def _in_a_process(what: tuple[str, str, str]) -> dict[str, object]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, __file__, "--one", *what]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    row: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return row


def _measure(name: str, precision: str, work: str) -> dict[str, object]:
    spec, dtype = _spec(name), getattr(torch, precision)
    told = estimate_memory(spec, _PATCH, 1, moments=0, device_type="cpu", dtype=dtype)
    gib = {
        "training": told.training_gib,
        "checkpointed": told.training_checkpointed_gib,
        "inference": told.inference_gib,
    }
    estimated = gib[work] - told.weights_gib
    measured = _peak(spec, dtype, work)
    return {
        "network": name,
        "patch_voxels": " x ".join(map(str, _PATCH)),
        "precision": precision,
        "work": work,
        "measured_gib": round(measured, 4),
        "estimated_gib": round(estimated, 4),
        "off_percent": round(100 * (estimated / measured - 1), 1),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, 1 thread",
    }


def _spec(name: str) -> NetworkSpec:
    chosen = choose_network(ModelSettings.model_validate(_NETWORKS[name]))
    return chosen.planned(_PATCH).spec(1, 3)


def _peak(spec: NetworkSpec, dtype: torch.dtype, work: str) -> float:
    network = build_plain(spec)
    spec.family.set_checkpointing(network, work == "checkpointed")

    def autocast() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16)

    def run(images: torch.Tensor) -> None:
        if work == "inference":
            with torch.no_grad(), autocast():
                network(images)
            return
        with autocast():
            outputs = run_all_heads(network, images, spec)
        segmentation_loss(outputs).backward()

    run(torch.randn(1, 1, 32, 32, 32))  # libraries are loaded, and primitives made
    network.zero_grad(set_to_none=True)
    return peak_gib(lambda: run(torch.randn(1, 1, *_PATCH)), torch.device("cpu"))


if __name__ == "__main__":
    main()
