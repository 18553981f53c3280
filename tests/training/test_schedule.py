"""Learning rates as published and as peers have them, and that every parameter gets them."""

from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError

from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.schedule import RATE_FACTOR, learning_rate, set_learning_rate


def _rates(settings: TrainingSettings) -> list[float]:
    """Of every epoch."""
    return [learning_rate(settings, epoch / settings.epochs) for epoch in range(settings.epochs)]


def test_poly_schedule_gives_the_published_rates() -> None:
    settings = TrainingSettings()
    rates = [learning_rate(settings, epoch / 1000) for epoch in (0, 500, 999, 1000)]
    assert rates == pytest.approx([1e-3, 5.3589e-4, 2.0e-6, 0.0], rel=1e-2)


def test_cosine_schedule_is_pytorchs() -> None:
    settings = TrainingSettings(schedule="cosine", epochs=20, learning_rate=0.3)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    peer = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=20)
    expected = []
    for _ in range(20):
        expected.append(peer.get_last_lr()[0])
        optimiser.step()
        peer.step()
    assert _rates(settings) == pytest.approx(expected, rel=1e-9)
    assert learning_rate(settings, 1.0) == pytest.approx(0, abs=1e-12)


def test_warm_up_rises_as_nnunets_and_then_falls_over_the_rest() -> None:
    """`Lin_incr_LRScheduler` and `PolyLRScheduler_offset` of nnU-Net 2.8.1, written out."""
    settings = TrainingSettings(warmup_epochs=4, epochs=10, learning_rate=0.8)
    rises = [0.8 / 4 * (1 + epoch) for epoch in range(4)]
    falls = [0.8 * (1 - (epoch - 4) / (10 - 4)) ** 0.9 for epoch in range(4, 10)]
    assert _rates(settings) == pytest.approx(rises + falls, rel=1e-9)


def test_of_minutes_the_same_share_is_warm_up() -> None:
    settings = TrainingSettings(warmup_epochs=4, epochs=10, minutes=3.0, learning_rate=0.8)
    rates = [learning_rate(settings, share) for share in (0.0, 0.1, 0.2, 0.3999, 0.4, 0.7)]
    assert rates[:5] == pytest.approx([0.0, 0.2, 0.4, 0.8, 0.8], rel=1e-3)
    assert rates[5] == pytest.approx(0.8 * 0.5**0.9)


@pytest.mark.parametrize("schedule", ["poly", "cosine"])
def test_rates_fall_after_the_warm_up_and_end_at_zero(schedule: str) -> None:
    settings = TrainingSettings.model_validate({"schedule": schedule, "warmup_epochs": 50})
    rates = [learning_rate(settings, share / 1000) for share in range(50, 1101)]
    assert rates[0] == settings.learning_rate
    assert all(one > other for one, other in pairwise(rates[:950]))
    assert rates[-100:] == pytest.approx([0] * 100, abs=1e-12)


def test_every_parameter_gets_the_rate_of_the_share_that_is_over() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.AdamW([{"params": [one], "lr": 5.0} for one in weights])
    optimiser.param_groups[1][RATE_FACTOR] = 0.1
    settings = TrainingSettings(learning_rate=0.2, poly_exponent=0.5)
    for share, rate in ((0, 0.2), (0.6, 0.2 * 0.4**0.5), (0.9, 0.2 * 0.1**0.5), (1.1, 0.0)):
        set_learning_rate(optimiser, settings, share)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx(
            [rate, 0.1 * rate]
        )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"schedule": "cosine", "poly_exponent": 2.0}, "poly_exponent is of the schedule poly"),
        ({"schedule": "linear"}, "'poly' or 'cosine'"),
        ({"warmup_epochs": 10, "epochs": 10}, "warmup_epochs leave none of the 10 epochs"),
        ({"patience": 5, "validation_iterations": 0}, "patience needs the Dice on patches"),
        ({"ema": 1.0}, "less than 1"),
        ({"accumulate": 0}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        TrainingSettings.model_validate(values)
