import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mednext_cli.evaluation.columns import find_metric
from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.evaluation.plots import plot_boxes
from tests.evaluation.conftest import boxes


class Reader(HTMLParser):
    """Collects cells, and whatever a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.fetched, self.stack = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.fetched += [value for key, value in attributes if key in ("src", "href", "srcset")]
        self.fetched += [tag] if tag in ("link", "img", "iframe") else []
        if tag not in ("meta", "input", "line", "rect", "circle"):
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "td":
            self.cells.append(data)


@pytest.fixture
def report(folders, write_labels):
    predictions, labels = folders
    write_labels(labels / "<b>bold & co.nii.gz", boxes())
    write_labels(predictions / "case_2.nii.gz", boxes()[..., :5])
    result = evaluate(EvaluateSpec(predictions, labels, workers=0))
    return result, (result.folder / "report.html").read_text(encoding="utf-8")


def test_report_is_one_file_without_network(report):
    _, text = report
    assert Reader(text).fetched == []
    assert not re.search(r"url\(|@import|fetch\(|https?://", text)


def test_report_shows_every_case_and_escapes_names(report):
    result, text = report
    cells = Reader(text).cells
    for score in result.scores:
        assert score.case in cells
    assert "<b>bold" not in text
    assert "no prediction" in cells
    assert "not compared" in cells
    assert result.failed["case_2"].split(":")[-1][:20] in text


def test_worst_case_comes_first(report):
    _, text = report
    worst = Reader(text[text.index("Worst cases first") : text.index("All cases")]).cells
    assert worst[0] == "<b>bold & co"
    assert worst[1] == "0.000"


def test_box_spans_the_quartiles_and_axis_holds_all(report):
    result, _ = report
    scores = [score for score in result.scores if score.region == "label_1"]
    plot = plot_boxes(find_metric("dice"), scores)
    (row,) = plot.rows
    assert len(row.dots) == sum(np.isfinite(score.values["dice"]) for score in scores)
    assert row.low <= row.quartile_1 <= row.median <= row.quartile_3 <= row.high
    places = [dot.x for dot in row.dots]
    assert plot.ticks[0].x <= min(places) <= max(places) <= plot.ticks[-1].x <= plot.width
    assert (plot.ticks[0].text, plot.ticks[-1].text) == ("0", "1")


def test_nothing_finite_is_no_plot(report):
    result, _ = report
    missing = [score for score in result.scores if score.status == "missing_prediction"]
    assert missing
    assert plot_boxes(find_metric("hd95"), missing) is None
