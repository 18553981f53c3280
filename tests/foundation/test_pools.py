"""Workers that serve several maps."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mednext_cli.foundation.outcomes import Outcome
from mednext_cli.foundation.pools import keeping_workers
from mednext_cli.foundation.workers import RunSettings, run_over

pytestmark = pytest.mark.slow
Ask = Callable[[int, int], Iterator[Outcome[int]]]


_SECONDS = 300.0  # of patience on a busy machine


def _who(folder: Path, workers: int, item: int) -> int:
    """This process, once so many have come: one that begins late finds work, too."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + _SECONDS
    while len(list(folder.iterdir())) < workers:
        assert time.monotonic() < end
        time.sleep(0.02)
    return os.getpid()


@pytest.fixture
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Map `_who` over so many items; gives what came of them."""

    def run(workers: int, items: int) -> Iterator[Outcome[int]]:
        work = partial(_who, tmp_path_factory.mktemp("here"), workers)
        return run_over(work, list(range(items)), str, RunSettings(workers), "asking")

    return run


def _all(ask: Ask, workers: int = 2) -> set[int]:
    outcomes = list(ask(workers, 6))
    assert [outcome.error for outcome in outcomes] == [None] * 6
    found = {outcome.value for outcome in outcomes if outcome.value is not None}
    assert len(found) == workers
    return found


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_are_kept_from_one_map_to_the_next_and_no_longer(ask: Ask) -> None:
    with keeping_workers():
        first = _all(ask)
        assert _all(ask) == first
        assert all(map(_lives, first))
    assert not any(map(_lives, first))


def test_another_number_of_workers_is_another_pool(ask: Ask) -> None:
    with keeping_workers():
        first = _all(ask)
        assert len(_all(ask, workers=1)) == 1
        assert not any(map(_lives, first))


def test_a_map_that_is_left_early_takes_its_workers_along(ask: Ask) -> None:
    with keeping_workers():
        outcomes = ask(2, 20)
        seen = next(outcomes).value
        outcomes.close()  # type: ignore[attr-defined]
        assert seen is not None
        assert not _lives(seen)
        assert seen not in _all(ask)


def test_without_the_block_each_map_has_its_own(ask: Ask) -> None:
    assert _all(ask).isdisjoint(_all(ask))
