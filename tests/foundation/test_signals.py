"""SIGTERM ends a block as Ctrl-C does, and only the block."""

import os
import signal

import pytest

from mednext_cli.foundation.signals import stopped_by_sigterm


def test_sigterm_interrupts_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), stopped_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
