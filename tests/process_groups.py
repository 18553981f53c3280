"""Process groups in the process of a test: torchrun starts the real ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch.testing._internal.distributed.fake_pg
from torch import Tensor, distributed, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

_Exchange = Callable[[distributed.GradBucket], None]


@contextmanager
def group_of_one() -> Iterator[None]:
    """A group whose gradients are exchanged with nobody, by no thread.

    A test with gloo's threads hung once: they free tensors, for which they need Python's lock, and
    the end of a group may wait for them with that lock in hand.
    """
    store = torch.testing._internal.distributed.fake_pg.FakeStore()
    distributed.init_process_group("fake", store=store, rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def distribute(network: nn.Module, exchange: _Exchange = lambda _: None) -> DistributedDataParallel:
    """A network whose gradients are exchanged in this way, in a group of one."""

    def hook(_: None, bucket: distributed.GradBucket) -> Future[Tensor]:
        exchange(bucket)
        done: Future[Tensor] = Future()
        done.set_result(bucket.buffer())
        return done

    parallel = DistributedDataParallel(network)
    parallel.register_comm_hook(None, hook)
    return parallel
