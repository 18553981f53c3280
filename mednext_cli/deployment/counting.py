"""Tiles done and to do over all configurations; known exactly once a scan has been read."""

from mednext_cli.foundation.progress import Progress


class TilesLeft:
    """Keeps a bar of all tiles of a sheet.

    Args:
        bar: to report to.
        expected: tiles of each configuration, all its predictions together.
    """

    def __init__(self, bar: Progress, expected: list[int]) -> None:
        self._bar, self._expected = bar, expected
        self._number = self._done = self._runs = 0
        self._name = ""

    def begin(self, number: int, name: str, runs: int) -> None:
        """A configuration begins, of so many predictions."""
        self._number, self._name, self._runs, self._done = number, name, runs, 0

    def told(self, kind: str, count: int) -> None:
        """What its process says: "tiles" of a prediction, or so many more "done"."""
        if kind == "tiles":
            self._expect(count * self._runs)
            return
        self._done += count
        each = max(1, self._expected[self._number] // self._runs)
        run = min(self._runs, 1 + (self._done - 1) // each)
        self._bar.advance(count, f"{self._name}: prediction {run} of {self._runs}")

    def end(self) -> None:
        """It is over, be it done or failed."""
        self._expect(self._done)

    def _expect(self, tiles: int) -> None:
        if self._expected[self._number] != tiles:
            self._expected[self._number] = tiles
            self._bar.expect(max(1, sum(self._expected)))
