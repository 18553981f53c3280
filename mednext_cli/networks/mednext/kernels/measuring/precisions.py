"""Whether this processor is faster in bfloat16: one block of a network, in both number formats."""

import hashlib
import json
import logging
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from mednext_cli.foundation.devices import multiplies_bfloat16
from mednext_cli.foundation.errors import MednextError, StorageError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.foundation.user_cache import user_cache_folder
from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate, Mode
from mednext_cli.networks.mednext.kernels.measuring.checking import (
    fault,
    own_errors,
    relative_errors,
)
from mednext_cli.networks.mednext.kernels.measuring.machine import (
    Facts,
    describe_device,
    device_name,
    hash_kernels,
)
from mednext_cli.networks.mednext.kernels.measuring.shapes import FoundBlock, find_blocks
from mednext_cli.networks.mednext.kernels.measuring.sharing import shared
from mednext_cli.networks.mednext.kernels.measuring.subject import Subject
from mednext_cli.networks.mednext.kernels.measuring.timing import bench_for, time_in_turns
from mednext_cli.networks.mednext.native.library import libraries
from mednext_cli.networks.mednext.ways import ARRANGED, PYTORCH
from mednext_cli.networks.workload import Workload

logger = logging.getLogger(__name__)
_LONGEST = 32  # voxels along an axis: a block as wide as the network's, but of a small image
_SECONDS = 1.0
_FAMILY = Path(__file__).parents[2]  # the sources of the network, C kernels among them
_CANDIDATE = Candidate(ARRANGED)
_STOCK = Candidate(PYTORCH, Mode("contiguous"))


def bfloat16_gain(workload: Workload) -> float | None:
    """How many times as fast as in float32 the network's largest block is; measured once, and kept.

    Args:
        workload: a network of three dimensions, and what it is run on.

    Returns:
        None where that is moot: not on a CPU with instructions for bfloat16, or it computes wrongly
        there.
    """
    if workload.device.type != "cpu":
        return None
    return shared(partial(_gain, workload), device_name(workload.device))


def _gain(workload: Workload) -> float | None:
    if not multiplies_bfloat16():
        return None
    found = _narrow(workload)
    key = {
        **describe_device(workload.device),
        "network": json.dumps(workload.network.dump(), sort_keys=True, default=str),
        "block": found.shape.name,
        "gradients": str(workload.training),
        "sources": hash_kernels(_FAMILY),
        "lanes": str([library.lanes for library in libraries()]),
    }
    kept = _load(key)
    if kept is None:
        try:
            kept = measure_gain(found, workload)
        except (ArithmeticError, RuntimeError) as error:
            said = str(error).partition("\n")[0]
            logger.warning("bfloat16 is not measured, and float32 is taken: %s", said)
            return None
        _keep(key, kept)
    return kept or None


def measure_gain(found: FoundBlock, workload: Workload) -> float:
    """Time the block in both, in turns; 0 where bfloat16 is further off than PyTorch's own is."""
    full, reduced = (
        Subject(found, replace(workload, dtype=dtype)) for dtype in (torch.float32, torch.bfloat16)
    )
    if reason := _fault(reduced):
        logger.warning("bfloat16 is not taken: %s, %s", found.shape.name, reason)
        return 0.0
    works = {"float32": full.work(_CANDIDATE), "bfloat16": reduced.work(_CANDIDATE)}
    timed = time_in_turns(works, bench_for(workload.device), seconds=_SECONDS).timed
    return timed["float32"].milliseconds / timed["bfloat16"].milliseconds


def _fault(subject: Subject) -> str:
    reference = subject.reference()
    stock, ours = (
        relative_errors(subject.quantities(one), reference) for one in (_STOCK, _CANDIDATE)
    )
    return fault(ours, own_errors([stock], dict.fromkeys(stock, 0.0)))


def _narrow(workload: Workload) -> FoundBlock:
    """The block with the most to compute, of one small image."""
    largest = max(
        find_blocks(workload).values(), key=lambda one: one.shape.multiply_adds(training=False)
    )
    depth, height, width = (min(length, _LONGEST) for length in largest.shape.voxels)
    return replace(largest, shape=replace(largest.shape, batch=1, voxels=(depth, height, width)))


def _file(key: Facts) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return user_cache_folder() / "precision" / f"{digest[:32]}.json"


def _load(key: Facts) -> float | None:
    """None where nothing was measured, or the file is damaged."""
    try:
        content = read_json(_file(key))
    except MednextError:
        return None
    gain = content.get("gain") if isinstance(content, dict) else None
    return gain if isinstance(gain, float) and math.isfinite(gain) and gain >= 0 else None


def _keep(key: Facts, gain: float) -> None:
    try:
        write_json(_file(key), {"key": key, "gain": gain})
    except StorageError as error:
        logger.warning("%s: what is measured is not kept", error.message)
