"""Signals stop the process once and in order; what comes after the first disturbs nothing."""

import signal
from collections.abc import Iterator

import pytest

from mednext_cli.foundation import signals
from mednext_cli.foundation.children import GROUP_SIGNALS
from mednext_cli.foundation.signals import stop_on_signals
from mednext_cli.training.interruption import deferred_interruption


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds, to be set; signals are as before at the end."""
    now = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    before = {number: signal.getsignal(number) for number in GROUP_SIGNALS}
    yield now
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", GROUP_SIGNALS)
def test_the_first_signal_stops_and_ctrl_c_insists(
    clock: list[float], number: signal.Signals
) -> None:
    stop_on_signals()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    for again in GROUP_SIGNALS:
        signal.raise_signal(again)
    clock[0] += 9
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_what_is_ignored_stays_so(clock: list[float]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stop_on_signals()
    signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.parametrize("number", GROUP_SIGNALS)
def test_what_training_has_noted_stops_nothing_a_second_time(
    clock: list[float], number: signal.Signals
) -> None:
    stop_on_signals()
    with deferred_interruption() as interruption:
        signal.raise_signal(number)
        assert interruption.requested
    for again in GROUP_SIGNALS:  # while the loaders end and the log is closed
        signal.raise_signal(again)
