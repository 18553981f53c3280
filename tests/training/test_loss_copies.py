"""A step makes no tensor on the host: a GPU would be waited for while it is copied."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mednext_cli.settings.loss import LossSettings
from mednext_cli.training.loss import SegmentationLoss

REGIONS = ((1, 2, 3), (2, 3), (3,))
ALL = ("dice", "cross_entropy", "focal", "tversky")
WEIGHTED = {"class_weights": (1.0, 2.0, 0.5)}


class HostTensors(TorchDispatchMode):
    """Counts tensors that are made of numbers of Python (``torch.tensor``)."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += op is torch.ops.aten.lift_fresh.default
        return op(*args, **(kwargs or {}))


def _count(loss: SegmentationLoss) -> int:
    outputs = [torch.randn(2, 3, n, n, n, requires_grad=True) for n in (8, 4)]
    labels = torch.randint(0, 3, (2, 8, 8, 8), dtype=torch.uint8)
    with HostTensors() as host:
        loss(outputs, labels).backward()
    return host.count


def test_the_count_sees_what_would_be_copied() -> None:
    labels = torch.randint(0, 3, (4, 4, 4))
    with HostTensors() as host:
        torch.isin(labels, torch.tensor([1, 2]))
    assert host.count == 1


@pytest.mark.parametrize("regions", [(), REGIONS])
@pytest.mark.parametrize("ignore", [None, 3])
@pytest.mark.parametrize("more", [{}, WEIGHTED])
def test_tensors_are_made_once(
    regions: tuple[tuple[int, ...], ...], ignore: int | None, more: dict[str, Any]
) -> None:
    """One of the class weights for each term that has them; none of regions."""
    loss = SegmentationLoss(regions, ignore, settings=LossSettings(terms=ALL, **more))
    assert [_count(loss) for _ in range(3)] == [2 if more else 0, 0, 0]
