"""Workers that serve several maps."""

import os
import time

import pytest

from mednext_cli.foundation.pools import keeping_workers
from mednext_cli.foundation.workers import RunSettings, run_over

pytestmark = pytest.mark.slow


def _who(item: int) -> int:
    time.sleep(0.2)  # so that both workers get some
    return os.getpid()


def _map(workers: int = 2, items: int = 6) -> set[int]:
    outcomes = list(run_over(_who, list(range(items)), str, RunSettings(workers), "asking"))
    assert len(outcomes) == items
    return {outcome.value for outcome in outcomes if outcome.value is not None}


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_are_kept_from_one_map_to_the_next_and_no_longer():
    with keeping_workers():
        first = _map()
        assert _map() == first
        assert all(map(_lives, first))
    assert not any(map(_lives, first))


def test_another_number_of_workers_is_another_pool():
    with keeping_workers():
        first = _map(workers=2)
        assert len(_map(workers=1)) == 1
        assert not any(map(_lives, first))


def test_a_map_that_is_left_early_takes_its_workers_along():
    with keeping_workers():
        outcomes = run_over(_who, list(range(20)), str, RunSettings(2), "asking")
        seen = next(outcomes).value
        outcomes.close()
        assert seen is not None
        assert not _lives(seen)
        assert seen not in _map()


def test_without_the_block_each_map_has_its_own():
    assert _map().isdisjoint(_map())
