"""report.html of predictions, as Chromium shows it."""

from pathlib import Path

import pytest
from PIL import Image

from mednext_cli.inference.reporting.cases import ReportedCase
from mednext_cli.inference.reporting.page import ReportContent, write_report
from tests.browser import CHROMIUM, IN_BROWSER

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = IN_BROWSER


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    """Six cases with a picture each; the third is small."""
    cases = []
    for index, volume in enumerate((900.0, 1000.0, 10.0, 1100.0, 1050.0, 950.0)):
        picture = tmp_path / f"{index}.png"
        Image.new("RGB", (700, 300), (40 * index, 80, 80)).save(picture)
        volumes = {"liver": volume, "a_structure_with_a_rather_long_name": 3.0}
        cases.append(ReportedCase(f"case_{index}", volumes, 0.1, picture))
    facts = {"Models": "/a/path/" + "without_any_space/" * 20}
    return write_report(ReportContent(tmp_path, facts, cases, {"broken": "no scan"}, ["one"]))


def test_it_shows_pictures_sorts_and_fits_a_narrow_screen(page_file: Path) -> None:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 400, "height": 800})
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 400
        shown = page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert shown == [700] * 6
        assert page.locator("h3").first.inner_text() == "case_2"
        first = page.locator("table.sortable tbody tr td").first
        assert first.inner_text() == "case_2"
        tops = []
        for _ in range(2):
            page.get_by_role("button", name="liver (ml)").click()
            tops.append(first.inner_text())
        assert sorted(tops) == ["case_2", "case_3"]  # the smallest and the largest
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
        browser.close()
