"""Which epoch is the best, of made-up sequences of patch Dice; worked out by hand."""

import math

import pytest

from mednext_cli.training.selection import Selection

NAN = math.nan


def _run(dices: list[float]) -> tuple[list[float], list[int]]:
    """The averages, and the epochs (from 1) that were the best so far."""
    selection, averages, best = Selection(), [], []
    for epoch, dice in enumerate(dices, 1):
        selection = selection.after_epoch(dice)
        averages.append(selection.moving_dice)
        if selection.is_best:
            best.append(epoch)
            assert selection.best_dice == selection.moving_dice
    return averages, best


@pytest.mark.parametrize(
    ("dices", "averages", "best"),
    [
        ([0.5], [0.5], [1]),
        ([0.5, 0.7, 0.9], [0.5, 0.52, 0.558], [1, 2, 3]),
        ([0.5, 0.0, 1.0], [0.5, 0.45, 0.505], [1, 3]),
        ([0.5, 0.0, 0.9], [0.5, 0.45, 0.495], [1]),
        ([0.0, 0.0], [0.0, 0.0], [1]),
        ([1.0, 0.0, 1.0], [1.0, 0.9, 0.91], [1]),
    ],
    ids=["one", "rising", "a dip", "a dip too deep", "nothing", "never again"],
)
def test_the_best_epoch_has_the_highest_average(
    dices: list[float], averages: list[float], best: list[int]
) -> None:
    found, epochs = _run(dices)
    assert found == pytest.approx(averages, abs=1e-12)
    assert epochs == best


def test_of_equal_averages_the_first_is_kept() -> None:
    """The same Dice again is the same average, but for the last bit."""
    assert _run([0.5, 0.5, 0.5])[1] == [1]
    assert _run([0.0, 0.0, 0.0])[1] == [1]


def test_an_epoch_without_any_class_changes_nothing() -> None:
    averages, best = _run([NAN, 0.5, NAN, 0.6, NAN])
    assert math.isnan(averages[0])
    assert averages[1:] == pytest.approx([0.5, 0.5, 0.51, 0.51])
    assert best == [2, 4]
    assert _run([NAN, NAN])[1] == []


def test_it_goes_on_from_what_a_checkpoint_holds() -> None:
    dices = [0.3, 0.8, 0.1, 0.9, NAN, 1.0]
    whole, _ = _run(dices)
    selection = Selection()
    for dice, average in zip(dices, whole, strict=True):
        known = Selection(selection.moving_dice, selection.best_dice)
        selection = known.after_epoch(dice)
        assert selection.moving_dice == average
