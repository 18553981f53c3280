"""The reports in headless Chromium: what a reader clicks, and that nothing complains."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.evaluation.leaderboard import LeaderboardSpec, leaderboard
from tests.browser import CHROMIUM, IN_BROWSER
from tests.evaluation.conftest import boxes

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = IN_BROWSER
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def reports(tmp_path_factory, write_labels) -> dict[str, Path]:
    """report.html of four cases, one with a hostile name, and leaderboard.html of two methods."""
    folder = tmp_path_factory.mktemp("reports")
    for index, name in enumerate((HOSTILE, "case_2", "case_10", "case_1")):
        write_labels(folder / "labels" / f"{name}.nii.gz", boxes(first=4 + index))
        image = np.random.default_rng(index).random((12, 14, 10)).astype(np.float32)
        write_labels(folder / "scans" / f"{name}.nii.gz", image)
        for method in (0, 1):
            made = boxes(first=4 + index, shift=int(method or index == 1))
            if name != "case_10":
                write_labels(folder / f"method_{method}" / f"{name}.nii.gz", made)
    tables = {}
    for method in (0, 1):
        made = folder / f"method_{method}"
        spec = EvaluateSpec(made, folder / "labels", workers=0, images=folder / "scans")
        tables[f"method <b>{method}"] = evaluate(spec).folder / "cases.csv"
    ranked = leaderboard(LeaderboardSpec(tables, folder / "ranks"))
    return {
        "report": folder / "method_0" / "report.html",
        "leaderboard": ranked.folder / "leaderboard.html",
    }


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    """Headless; started as root (containers) Chromium needs to go without its sandbox."""
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page, and whatever it complained of or asked for."""

    def __init__(self, browser, path, **settings):
        self.context = browser.new_context(**{"viewport": DESK, **settings})
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def column(self, number, table="#cases"):
        """Visible cells of one column (from 1), top to bottom."""
        cells = self.page.locator(f"{table} tbody tr:not([hidden]) td:nth-child({number})")
        return cells.all_inner_texts()


@pytest.fixture
def open_page(browser, reports):
    """Open a report by its name; in the end it must have complained of nothing."""
    opened = []

    def open_one(name, **settings):
        opened.append(Opened(browser, reports[name], **settings))
        return opened[-1]

    yield open_one
    for one in opened:
        asked = [url for url in one.requests if not url.startswith(("file:", "data:"))]
        complaints = list(one.complaints)
        one.context.close()
        assert (complaints, asked) == ([], [])


def test_headings_sort_by_click_and_by_key(open_page):
    opened = open_page("report")
    head = opened.page.get_by_role("columnheader", name="dice").and_(
        opened.page.locator("#cases th:nth-child(4)")
    )
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    values = [float(text) for text in opened.column(4)]
    assert values == sorted(values)
    assert values[0] < values[-1]
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in opened.column(4)] == values[::-1]
    opened.page.locator("#cases th:first-child button").click()
    assert head.get_attribute("aria-sort") is None
    named = [name for name in dict.fromkeys(opened.column(1)) if name.startswith("case")]
    assert named == ["case_1", "case_2", "case_10"]  # numbers in names count as numbers


def test_undefined_and_infinite_scores_sort_behind_numbers(open_page):
    opened = open_page("report")
    head = opened.page.locator("#cases th", has_text="hd95")
    head.get_by_role("button").click()
    number = head.evaluate("head => head.cellIndex") + 1
    texts = opened.column(number)
    assert texts[-1] == "∞"
    assert "∞" not in texts[0]


def test_table_is_filtered_by_name_region_and_note(open_page):
    opened = open_page("report")
    opened.page.get_by_label("Case", exact=True).fill("CASE_1")
    assert set(opened.column(1)) == {"case_1", "case_10"}
    opened.page.get_by_role("combobox").select_option("label_2")
    assert opened.column(2) == ["label_2"] * 2
    opened.page.get_by_label("only with a note").check()
    assert opened.column(3) == ["no prediction"]
    assert opened.page.locator("#shown").inner_text() == "1 of 8 rows"


def test_slider_moves_through_slices_by_arrow_keys(open_page):
    opened = open_page("report")
    plane = opened.page.locator(".plane").first
    slider, output = plane.get_by_role("slider"), plane.locator("output")
    slider.press("Home")
    first = output.inner_text()
    slider.press("ArrowRight")
    assert output.inner_text() != first
    shown = plane.locator("svg.slice:visible")
    assert shown.count() == 1
    assert output.inner_text() == f"slice {shown.get_attribute('data-position')}"
    assert shown.bounding_box()["height"] > 50
    drawn = "image => { const one = new Image(); one.src = image.getAttribute('href'); "
    assert shown.locator("image").evaluate(
        drawn + "return one.decode().then(() => one.naturalWidth); }"
    )


def test_outlines_can_be_hidden(open_page):
    opened = open_page("report")
    assert opened.page.locator("svg.slice path.prediction:visible").count() > 0
    opened.page.get_by_label("prediction (dashed)").uncheck()
    assert opened.page.locator("svg.slice path.prediction:visible").count() == 0
    assert opened.page.locator("svg.slice path.reference:visible").count() > 0


@pytest.mark.parametrize("name", ["report", "leaderboard"])
def test_a_phone_scrolls_in_one_direction(open_page, name):
    for scheme, colour in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 26, 32)")):
        opened = open_page(name, viewport=PHONE, color_scheme=scheme)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == colour, scheme


def test_it_prints_without_controls(open_page):
    for name in ("report", "leaderboard"):
        opened = open_page(name)
        assert opened.page.pdf().startswith(b"%PDF")
        opened.page.emulate_media(media="print")
        assert opened.page.locator(".controls:visible").count() == 0
        heading = opened.page.locator("h2").first  # stays with what it is the heading of
        assert heading.evaluate("one => getComputedStyle(one).breakAfter") == "avoid"
        tall = opened.page.locator(".tall").last  # nothing is cut off
        assert tall.evaluate("one => one.scrollHeight <= one.clientHeight + 1"), name


def test_names_stay_text(open_page):
    opened = open_page("report")
    assert HOSTILE in opened.column(1)
    assert opened.page.locator("img").count() == 0
    board = open_page("leaderboard")
    assert board.page.locator("td b").count() == 0
    assert "method <b>0" in board.column(3, "table.sortable >> nth=0 >> ")


def test_policy_stops_what_slipped_in(browser, reports):
    opened = Opened(browser, reports["report"])
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          const image = new Image();
          image.src = "https://example.org/pixel.png";
          document.body.append(image);
        }"""
    )
    assert opened.page.evaluate("window.ran") is None
    assert sum("Content Security Policy" in text for text in opened.complaints) == 2
    opened.context.close()


def test_leaderboard_sorts_each_table_by_itself(open_page):
    opened = open_page("leaderboard")
    tables = opened.page.locator("table.sortable")
    head = tables.nth(1).locator("th", has_text="mean")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert tables.nth(0).locator("th[aria-sort]").count() == 0
