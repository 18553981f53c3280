"""Every network we can build: its size, what a step costs here, and where else it runs.

    python benchmarks/networks.py   (needs the extras baselines, openvino and export)

A process each. Sizes are of the published network for one channel and 14 classes, without heads on
lower resolutions, on a patch of 128^3 voxels, or of 1 x 512 x 512 for networks of slices. What is
run here has a patch of 64^3, or 1 x 256 x 256, batch 1, float32 and one thread. Memory is measured
in another process, in which the C library gives freed blocks back at once: what it would keep
between blocks is not the network's. Seconds are estimated as `mednext scale-report` does, by what
this processor was measured to do at most in the same process.
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.onnx_graphs import build_graph
from mednext_cli.networks.patches import Patch, shown_patch
from mednext_cli.networks.registry import family_names
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.scaling.complexity import count_complexity
from mednext_cli.scaling.device_sheets import find_sheet
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.measure import Measurement, measure_network
from mednext_cli.scaling.memory import estimate_memory
from mednext_cli.scaling.roofline import estimate_time
from mednext_cli.settings.recipe import ModelSettings

_PAPER, _HERE = {3: (128, 128, 128), 2: (1, 512, 512)}, {3: (64, 64, 64), 2: (1, 256, 256)}
_CHANNELS, _CLASSES, _BATCH = 1, 14, 2


def main() -> None:
    """Write a row a network; --one NAME prints that row alone."""
    parser = argparse.ArgumentParser(description="the networks, measured")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/networks.csv"))
    parser.add_argument("--one", help="measure this network in this process")
    parser.add_argument("--memory", help="print the GiB of a step of this network")
    parser.add_argument("--only", nargs="*", help="leave the rows of the others as they are")
    parser.add_argument(
        "--times", action="store_true", help="only seconds; the rest of a row stays"
    )
    parser.add_argument("--times-of", help="print the seconds of this network")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one)))
        return
    if options.memory:
        print(json.dumps(_measured(options.memory).step.gib))
        return
    if options.times_of:
        print(json.dumps(_seconds(options.times_of, _measured(options.times_of))))
        return
    rows = {row["network"]: row for row in _read(options.out)}
    for name in options.only or family_names():
        if options.times:
            rows[name] = _with_times(rows[name], _told("--times-of", name))
        else:
            rows[name] = _in_a_process(name)
        print(rows[name], flush=True)
        _write(options.out, [rows[name] for name in family_names() if name in rows])


def _in_a_process(name: str) -> dict[str, object]:
    row: dict[str, object] = _told("--one", name)
    gib = _told("--memory", name, MALLOC_MMAP_THRESHOLD_="131072")
    return {what: round(gib, 3) if what == "step_gib_measured" else row[what] for what in row}


def _with_times(row: dict[str, object], seconds: dict[str, object]) -> dict[str, object]:
    """The row with other seconds, in their usual places."""
    changed = {name: value for name, value in row.items() if name not in seconds}
    places = list(changed)
    first = places.index("patch_voxels") + 1
    before = {name: changed[name] for name in places[:first]}
    return before | seconds | {name: changed[name] for name in places[first:]}


def _told(*options: str, **environment: str) -> Any:  # noqa: ANN401 - what this script prints
    command = [sys.executable, __file__, *options]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, env=one_thread, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(name: str) -> Measurement:
    here, patch = _network(name, _HERE)
    return measure_network(here, patch, 1, torch.device("cpu"))


def _seconds(name: str, measured: Measurement) -> dict[str, object]:
    """Of a patch forward, and of a step as measured and as estimated for this processor."""
    spec, patch = _network(name, _HERE)
    work = DryNetwork(spec, "cpu").train(patch, 1, torch.float32, False).work
    estimated = estimate_time(work, 0, find_sheet("cpu")).expected_seconds
    return {
        "forward_seconds": round(measured.forward.seconds, 3),
        "step_seconds": round(measured.step.seconds, 3),
        "step_seconds_estimated": round(estimated, 3),
    }


def _measure(name: str) -> dict[str, object]:
    paper, paper_patch = _network(name, _PAPER)
    here, patch = _network(name, _HERE)
    complexity = count_complexity(paper, paper_patch)
    memory = estimate_memory(paper, paper_patch, _BATCH)
    expected = estimate_memory(here, patch, 1, moments=0, device_type="cpu")
    measured = _measured(name)
    return {
        "network": name,
        "parameters": complexity.parameters,
        "paper_patch_voxels": shown_patch(paper_patch),
        "multiply_adds": complexity.multiply_adds,
        "training_gib": round(memory.training_gib, 2),
        "training_checkpointed_gib": round(memory.training_checkpointed_gib, 2),
        "patch_voxels": shown_patch(patch),
        **_seconds(name, measured),
        "step_gib_measured": round(measured.step.gib, 3),
        "step_gib_estimated": round(expected.training_gib - expected.weights_gib, 3),
        **{what: _tried(run, here, patch) for what, run in _ELSEWHERE.items()},
        "torch": torch.__version__,
        "mednext": version("mednext"),
        "machine": f"{platform.machine()}, 1 thread",
    }


def _network(name: str, patches: dict[int, Patch]) -> tuple[NetworkSpec, Patch]:
    chosen = choose_network(ModelSettings(network=name))
    rule = chosen.family.patch_rule(chosen.settings)
    chosen = chosen.planned(patches[rule.dimensions])
    spec = replace(chosen.spec(_CHANNELS, _CLASSES), deep_supervision=False)
    return spec, spec.patch_rule.fit(patches[rule.dimensions])


def _tried(run: Callable[[NetworkSpec, Patch], None], spec: NetworkSpec, patch: Patch) -> str:
    """``yes``, or why not."""
    try:
        run(spec, patch)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "yes"


def _inputs(spec: NetworkSpec, patch: Patch) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    network = build_plain(spec).eval()
    return network, torch.randn(1, spec.in_channels, *patch)


def _compile(spec: NetworkSpec, patch: Patch) -> None:
    network, image = _inputs(spec, patch)
    with torch.no_grad():
        expected, found = network(image), torch.compile(network, fullgraph=True)(image)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def _onnx(spec: NetworkSpec, patch: Patch) -> None:
    network, _ = _inputs(spec, patch)
    build_graph(network, spec, patch)


def _openvino(spec: NetworkSpec, patch: Patch) -> None:
    from mednext_cli.inference.engine import EngineOptions
    from mednext_cli.inference.openvino_engine import OpenVinoEngine
    from mednext_cli.settings.labels import LabelSet
    from mednext_cli.settings.plan import ChannelNormalisation, Plan

    network, image = _inputs(spec, patch)
    labels = {f"label {value}": value for value in range(1, _CLASSES)}
    plan = Plan(
        dataset="benchmark",
        layout="msd",
        spacing_mm=(1.0, 1.0, 1.0),
        patch_voxels=patch,
        batch_size=1,
        channels=("CT",),
        normalisation=(ChannelNormalisation(scheme="none"),),
        label_set=LabelSet(labels, {name: (value,) for name, value in labels.items()}),
    )
    engine = OpenVinoEngine(
        Checkpoint(spec, network.state_dict(), plan), plan, EngineOptions(torch.device("cpu"))
    )
    with torch.no_grad():
        torch.testing.assert_close(engine(image), network(image), rtol=1e-3, atol=1e-3)


_ELSEWHERE = {"torch_compile": _compile, "onnx": _onnx, "openvino": _openvino}


def _read(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(max(rows, key=len)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
