"""What the tests prove where there is nothing but a clone: no real scans, no browser, no GPU."""

from pathlib import Path

import pytest

from tests.places import COMMITTED

MOST_SKIPPED = 40
MOST_BYTES = 8_000_000


def _needs_more(item: pytest.Item) -> bool:
    """Whether a test skips somewhere for want of scans or of a machine."""
    elsewhere = any(mark.args and mark.args[0] for mark in item.iter_markers("skipif"))
    fixtures = getattr(item, "fixturenames", ())
    device = any(item.iter_markers("gpu")) and "device" not in fixtures
    scans = "data_folder" in fixtures
    return elsewhere or device or scans or any(item.iter_markers("browser"))


def test_few_tests_need_more_than_a_clone(request: pytest.FixtureRequest) -> None:
    """Of those that are run now: all in `make test`."""
    found = [item.nodeid for item in request.session.items if _needs_more(item)]
    assert len(found) <= MOST_SKIPPED, found


def test_reference_values_are_small_and_described() -> None:
    files = [path for path in COMMITTED.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    text = (COMMITTED / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in files if not _is_described(path, text)] == []


def _is_described(path: Path, text: str) -> bool:
    """By its name, or with its kind: `image_*.npz`."""
    kind = path.name.split("_")[0] + "_*" + path.suffix
    return path.name == "README.md" or path.name in text or kind in text
