"""How fast a network is here, from one small tile: enough to say how long a sheet will take."""

import time

import torch

from mednext_cli.deployment.measurement import Failure
from mednext_cli.deployment.task import Task
from mednext_cli.deployment.worker import load_networks
from mednext_cli.foundation.outcomes import attempt
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.tiles import predict_tiles

_TILES = 2  # the second is timed


def time_tile(task: Task) -> float | Failure:
    """Seconds for each voxel that a tile has, of one network of the task."""
    outcome = attempt("a tile", lambda: _time(task, load_networks(task)))
    return outcome.value or Failure(problem=outcome.error or "nothing came of it")


@torch.inference_mode()
def _time(task: Task, networks: NetworkAverage) -> float:
    member = networks.members[0]
    tile = torch.randn(1, len(networks.plan.channels), *task.small_tile)
    seconds = 0.0
    for _ in range(_TILES):
        started, worked = time.perf_counter(), time.process_time()
        predict_tiles(member.engine, tile, networks.plan.output_channels)[0].cpu()
        seconds = time.perf_counter() - started
        if member.engine.device.type == "cpu":  # more by the clock is what others took
            seconds = min(seconds, time.process_time() - worked)
    return seconds / tile[0, 0].numel()
