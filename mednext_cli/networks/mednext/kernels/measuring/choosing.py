"""What `operators = auto` takes for a network on this machine."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from mednext_cli.networks.mednext.kernels.measuring import cache
from mednext_cli.networks.mednext.kernels.measuring.apart import RefusedError
from mednext_cli.networks.mednext.kernels.measuring.choices import Choices, chosen_blocks
from mednext_cli.networks.mednext.kernels.measuring.driver import why_not
from mednext_cli.networks.mednext.kernels.measuring.machine import (
    Facts,
    describe_device,
    device_name,
)
from mednext_cli.networks.mednext.kernels.measuring.measure import PATIENT, measure
from mednext_cli.networks.mednext.kernels.measuring.selecting import select
from mednext_cli.networks.mednext.kernels.measuring.shapes import find_blocks
from mednext_cli.networks.mednext.kernels.measuring.sharing import shared
from mednext_cli.networks.mednext.kernels.measuring.trials import Measured
from mednext_cli.networks.mednext.kernels.measuring.workbench import BlockBench
from mednext_cli.networks.workload import Workload

logger = logging.getLogger(__name__)
_KINDS = ("cpu", "cuda")


def choose(workload: Workload, kept: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """What was measured for this work on this kind of device; on a GPU, measured now if need be.

    On a CPU nothing is measured by the way, and results stay as they are from one version to the
    next, unless somebody asked for the measurement (`mednext doctor --operators`).

    Args:
        workload: a network of three dimensions, and what it is run on.
        kept: what was chosen before; stays, if it was on the same kind of device.

    Returns:
        `Choices` as plain types. None where nothing was measured or can be: then PyTorch's own
        operators run.
    """
    if workload.device.type not in _KINDS:
        return None
    name = device_name(workload.device)

    def decide() -> dict[str, Any] | None:
        if kept is not None and kept.get("device") == name:
            return dict(kept)
        chosen = _choose(workload)
        return None if chosen is None else chosen.model_dump(mode="json")

    return shared(decide, name)


def _choose(workload: Workload) -> Choices | None:
    on_cpu = workload.device.type == "cpu"
    if on_cpu and not cache.exists():
        return None
    key = cache_key(workload)
    found = cache.load(key)
    if found is None and not on_cpu:
        found = cache.load_or(key, partial(_measure_if_possible, workload))
    if found is not None:
        logger.info("operators: %s", summary(found))
    return found


def cache_key(workload: Workload) -> Facts:
    """All that the choices depend on."""
    blocks = {name: found.shape.name for name, found in find_blocks(workload).items()}
    work = {
        "blocks": str(blocks),
        "dtype": str(workload.dtype).removeprefix("torch."),
        "batch": str(workload.batch),
        "gradients": str(workload.training),
    }
    return {**describe_device(workload.device), **work}


def _measure_if_possible(workload: Workload) -> Choices | None:
    reason = why_not(workload.device)
    if not reason:
        logger.info("operators: measuring what is fastest here, once, in a few minutes at most")
        if workload.device.type == "cuda":
            torch.cuda.empty_cache()  # the other process wants that memory
        try:
            return choices_of(workload, measure(partial(BlockBench, workload)))
        except RefusedError as error:
            reason = str(error)
    logger.warning("operators: not measured (%s): PyTorch's own are taken", reason)
    return None


def measure_anew(workload: Workload) -> tuple[Measured, Choices]:
    """Measure, whatever is kept, and keep that; nothing but what hangs is given up.

    Raises:
        RefusedError: nothing can be measured here.
    """
    if reason := why_not(workload.device):
        raise RefusedError(reason)
    measured = measure(partial(BlockBench, workload), PATIENT)
    choices = choices_of(workload, measured)
    cache.load_or(cache_key(workload), lambda: choices, anew=True)
    return measured, choices


def choices_of(workload: Workload, measured: Measured) -> Choices:
    """What is taken of all that was measured."""
    selected = select(measured)
    shapes = {name: found.shape for name, found in find_blocks(workload).items()}
    mode = selected.mode
    return Choices(
        device=device_name(workload.device),
        layout=mode.layout,
        benchmark=mode.benchmark,
        threads=mode.threads,
        blocks=chosen_blocks(shapes, selected.ways),
    )


def summary(choices: Choices) -> str:
    """A line for people: how many blocks run how."""
    ways = [one.way for one in choices.blocks.values()]
    counts = [f"{ways.count(way)} blocks {way}" for way in dict.fromkeys(ways)]
    said = [choices.layout.replace("_", "-")] + ["cudnn.benchmark"] * choices.benchmark
    said += [] if choices.threads is None else [f"{choices.threads} threads"]
    return f"as measured on {choices.device}: {', '.join([*counts, *said])}"
