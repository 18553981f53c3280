"""How far the prediction of many cases is: counted in tiles, of which large scans have many."""

from collections.abc import Mapping
from math import ceil
from threading import Lock

from mednext_cli.foundation.progress import Progress


class TileCount:
    """Tiles done and to do, over all cases; a case's are estimated until it has been read.

    Args:
        bar: to report to.
        expected: tiles by case id, 0 where nothing is known yet.
    """

    def __init__(self, bar: Progress, expected: Mapping[str, int]) -> None:
        self._bar = bar
        self._tiles = dict(expected)
        self._done = dict.fromkeys(expected, 0)
        self._cases_done = 0
        self._lock = Lock()  # several cases may be predicted at once

    def begin(self, case_id: str, tiles: int) -> None:
        """The case has been read and has so many tiles."""
        with self._lock:
            self._tiles[case_id] = tiles
            self._bar.expect(expected_tiles(self._tiles))

    def advance(self, case_id: str, tiles: int, note: str = "") -> None:
        """So many tiles more of the case are done."""
        with self._lock:
            self._done[case_id] += tiles
            where = f"{case_id}: {self._done[case_id]} of {self._tiles[case_id]} tiles{note}"
            done = f"{self._cases_done} of {len(self._tiles)} cases done"
            self._bar.advance(tiles, f"{where}, {done}")

    def end(self, case_id: str) -> None:
        """Nothing more is to be done for the case, be it done, failed or another run's."""
        with self._lock:
            self._cases_done += 1
            if self._tiles[case_id] != self._done[case_id]:
                self._tiles[case_id] = self._done[case_id]
                self._bar.expect(expected_tiles(self._tiles))


def expected_tiles(tiles: Mapping[str, int]) -> int:
    """All cases together, at least 1; those of which nothing is known count as the others do."""
    known = [count for count in tiles.values() if count]
    mean = sum(known) / len(known) if known else 1
    return max(1, sum(known) + ceil(mean * (len(tiles) - len(known))))
