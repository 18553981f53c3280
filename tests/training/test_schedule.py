"""The published learning rates, and that every parameter gets them."""

import pytest
import torch

from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.schedule import poly_learning_rate, set_learning_rate


def test_poly_schedule_gives_the_published_rates() -> None:
    rates = [poly_learning_rate(1e-3, epoch / 1000) for epoch in (0, 500, 999, 1000)]
    assert rates == pytest.approx([1e-3, 5.3589e-4, 2.0e-6, 0.0], rel=1e-2)


def test_every_parameter_gets_the_rate_of_the_share_that_is_over() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.AdamW([{"params": [one], "lr": 5.0} for one in weights])
    settings = TrainingSettings(learning_rate=0.2, poly_exponent=0.5)
    for share, rate in ((0, 0.2), (0.6, 0.2 * 0.4**0.5), (0.9, 0.2 * 0.1**0.5), (1.1, 0.0)):
        set_learning_rate(optimiser, settings, share)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([rate, rate])
