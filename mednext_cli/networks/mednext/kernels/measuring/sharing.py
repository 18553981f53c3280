"""One choice for all processes that train a network together."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from torch import distributed

Chosen = TypeVar("Chosen")
logger = logging.getLogger(__name__)
_PATIENCE = timedelta(hours=1)  # rank 0 measures for minutes; NCCL would give up after ten


def shared(choose: Callable[[], Chosen | None], device: str) -> Chosen | None:
    """What rank 0 chooses, in every process; alone, what is chosen.

    Ranks that ran other operators would compute other numbers, and wait for each other. So would
    ranks on GPUs of several kinds, of which no single choice is the best: they choose nothing.

    Args:
        choose: is called by rank 0 alone; what it raises, every rank raises.
        device: the name of this process's device.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return choose()
    group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
    names: list[str | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(names, device, group=group)
    if len(set(names)) > 1:
        logger.warning("operators: nothing is measured on several kinds of devices at once")
        return None
    answer = [_attempt(choose) if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(answer, src=0, group=group)
    distributed.destroy_process_group(group)
    chosen = answer[0]
    if isinstance(chosen, Exception):
        raise chosen
    return chosen


def _attempt(choose: Callable[[], Chosen | None]) -> Chosen | Exception | None:
    try:
        return choose()
    except Exception as error:  # the others wait for an answer
        return error
