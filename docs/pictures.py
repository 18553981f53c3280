"""Take the README's pictures of what ``make demo`` made (``make pictures``).

A picture is what Chromium shows of a report: the worst case over its scan, and the ranks.
"""

import os
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from mednext_cli.app import main as mednext

_DEMO, _PICTURES = Path("demo"), Path(__file__).parent / "pictures"
_VIEWPORT = {"width": 1000, "height": 900}
_LARGEST_KB = 300  # both together


def main() -> int:
    """Write docs/pictures/ anew."""
    chromium = os.environ.get("MEDNEXT_CHROMIUM") or shutil.which("chromium")
    if chromium is None or not (_DEMO / "leaderboard").is_dir():
        sys.stderr.write("error: make demo first; Chromium is on the PATH or MEDNEXT_CHROMIUM\n")
        return 2
    scored = _DEMO / "scores" / "over_scans"
    folders = [str(_DEMO / "predictions" / "k3"), str(_DEMO / "test")]
    options = ["--dataset", "kits19", "--images", str(_DEMO / "test"), "--out", str(scored)]
    if code := mednext(["evaluate", *folders, *options]):
        return code
    _PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=_VIEWPORT)
        _take_worst_case(page, scored / "report.html")
        _take_ranks(page, _DEMO / "leaderboard" / "leaderboard.html")
        browser.close()
    size = sum(path.stat().st_size for path in _PICTURES.glob("*.png")) / 1000
    return int(size > _LARGEST_KB)


def _take_worst_case(page: Page, report: Path) -> None:
    page.goto(report.absolute().as_uri())
    page.locator("section.overlay").first.screenshot(path=_PICTURES / "report.png")


def _take_ranks(page: Page, leaderboard: Path) -> None:
    page.goto(leaderboard.absolute().as_uri())
    page.locator(".agreements").first.screenshot(path=_PICTURES / "leaderboard.png")


if __name__ == "__main__":
    sys.exit(main())
