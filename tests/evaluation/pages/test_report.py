import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mednext_cli.app import main
from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.evaluation.pages.overlays import MOST_BYTES, draw_overlays, find_images
from mednext_cli.evaluation.pages.plots import plot_agreements, plot_boxes
from mednext_cli.evaluation.pages.report import ReportTitle, write_report
from mednext_cli.evaluation.pages.slices import LabelledScan, draw_planes, outline
from mednext_cli.evaluation.scoring.score_case import CasePair
from mednext_cli.evaluation.scoring.scores import RegionScore, ScoreSettings
from mednext_cli.evaluation.tables.columns import find_metric
from mednext_cli.evaluation.tables.summary import summarise
from tests.evaluation.conftest import boxes


class Reader(HTMLParser):
    """Collects cells, and whatever a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.fetched, self.stack = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.fetched += [
            value
            for key, value in attributes
            if key in ("src", "href", "srcset") and not value.startswith("data:image/")
        ]
        self.fetched += [tag] if tag in ("link", "img", "iframe") else []
        if tag not in ("meta", "input", "line", "rect", "circle", "image", "path"):
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


def test_policy_allows_this_style_and_script_and_no_network(report):
    _, text = report
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text).group(1)
    policy = policy.replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        assert f"{tag}-src 'sha256-" in policy
        assert text.count(f"<{tag}") == 1
    assert " style=" not in text
    assert not re.search(r" on[a-z]+=", text)


def test_report_shows_every_case_and_escapes_names(report):
    result, text = report
    cells = Reader(text).cells
    for score in result.scores:
        assert score.case in cells
    assert "<b>bold" not in text
    assert "no prediction" in cells
    assert "not compared" in cells
    assert result.failed["case_2"].error.split(":")[-1][:20] in text


def test_facts_say_how_it_was_scored(folders, write_labels):
    predictions, labels = folders
    write_labels(predictions / "case_2.nii.gz", boxes(first=6)[1:])
    spec = EvaluateSpec(predictions, labels, workers=0, hd95="medpy", protocol="mednext",
                        lesions="any", resample=True)  # fmt: skip
    result = evaluate(spec)
    text = (result.folder / "report.html").read_text(encoding="utf-8")
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert facts["Surface Dice tolerance"] == "1 voxel, spacing ignored"
    assert "medpy" in facts["HD95"]
    assert facts["Brought onto another grid"] == "1 (nearest voxel)"
    assert "resampled" in Reader(text).cells
    assert "lesion f1</button>" in text


def test_facts_say_which_region_has_which_tolerance(folders):
    spec = EvaluateSpec(*folders, workers=0, region_tolerances_mm={"label_2": 2.5})
    text = (evaluate(spec).folder / "report.html").read_text(encoding="utf-8")
    assert "<dd>1 mm: label_1; 2.5 mm: label_2</dd>" in text


def test_cases_with_a_prediction_are_drawn_first(folders):
    predictions, labels = folders
    (predictions / "case_2.nii.gz").unlink()
    result = evaluate(EvaluateSpec(predictions, labels, workers=0))
    text = (result.folder / "report.html").read_text(encoding="utf-8")
    assert re.findall("<h3>(.*?)</h3>", text) == ["case_0", "case_1", "case_2"]


def test_raw_folder_of_scans_needs_no_layout(folders, write_labels, tmp_path):
    raw = tmp_path / "raw"
    names = [f"case_{index}.nii.gz" for index in range(3)]
    for name in names:
        write_labels(raw / "imagesTr" / name, boxes().astype(np.float32))
        write_labels(raw / "labelsTr" / name, boxes())
    pairs = [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names]
    dataset = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "a", "2": "b"},
               "numTraining": 3, "numTest": 0, "training": pairs, "test": []}  # fmt: skip
    (raw / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    assert set(find_images(raw, ["case_0", "case_2"])) == {"case_0", "case_2"}


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


def test_volume_agreement_by_hand(report):
    result, _ = report
    scores = [one for one in result.scores if one.region == "label_1" and one.status == "ok"]
    (plot,) = plot_agreements(scores, most=1)
    differences = [one.values["volume_difference_ml"] for one in scores]
    assert f"bias {np.mean(differences):.3g} ml" in plot.text
    assert len(plot.dots) == len(scores)
    assert plot_agreements(scores, most=0) == []


def test_limits_of_agreement_are_those_of_bland_and_altman():
    volumes = ((1.0, 1.1), (2.0, 2.3), (3.0, 2.9))
    values = [{"volume_reference_ml": one, "volume_prediction_ml": other} for one, other in volumes]
    scores = [
        RegionScore(str(number), "x", value, 1.0, "", "ok", "nnunet")
        for number, value in enumerate(values)
    ]
    (plot,) = plot_agreements(scores, most=1)
    # Differences 0.1, 0.3, -0.1: mean 0.1, standard deviation 0.2, 0.1 -+ 0.392.
    assert plot.text == "bias 0.1 ml, 95 % limits of agreement -0.292 to 0.492 ml"


def test_outline_goes_along_the_borders_of_voxels():
    # One voxel at row 0, column 1: top, bottom, left, right.
    assert outline(np.array([[0, 1]], np.uint8)) == "M1 0h1M1 1h1M1 0v1M2 0v1"
    # Two labels side by side have a border between them.
    assert outline(np.array([[1, 2]], np.uint8)).endswith("M0 0v1M1 0v1M2 0v1")
    assert outline(np.zeros((3, 3), np.uint8)) == ""


def test_planes_are_turned_as_radiologists_look(tmp_path):
    # Axes go up, to the front and to the right: a voxel above, in front, at the right.
    reference = np.zeros((20, 20, 20), np.uint8)
    reference[15, 14, 17] = 1
    image = reference.astype(np.float32)
    scan = LabelledScan(reference, np.zeros_like(reference), image, (1.0, 1.0, 1.0))
    axial, coronal, sagittal = draw_planes(scan)
    # The box keeps 12 voxels around: from 3, 2 and 5 to the end.
    assert [one.slices[0].position for one in (axial, coronal, sagittal)] == [16, 15, 18]
    assert (axial.columns, axial.rows, coronal.rows) == (15, 18, 17)
    assert axial.slices[0].reference.startswith("M2 5h1")  # right and front: top left
    assert coronal.slices[0].reference.startswith("M2 4h1")
    assert sagittal.slices[0].reference.startswith("M5 4h1")  # front on the left
    assert axial.slices[0].prediction == ""
    data = base64.b64decode(axial.slices[0].image.split(",")[1])
    grey = np.asarray(Image.open(io.BytesIO(data)))
    assert grey.shape == (18, 15)
    assert np.unravel_index(grey.argmax(), grey.shape) == (5, 2)


def test_greys_run_from_the_darkest_to_the_brightest_of_the_scan():
    reference = np.zeros((8, 10, 40), np.uint8)
    reference[4, 5, 20] = 1
    image = np.broadcast_to(np.linspace(1000, 1100, 40, dtype=np.float32), reference.shape)
    scan = LabelledScan(reference, np.zeros_like(reference), image, (1.0, 1.0, 1.0))
    axial = draw_planes(scan)[0]
    data = base64.b64decode(axial.slices[0].image.split(",")[1])
    grey = np.asarray(Image.open(io.BytesIO(data)))
    assert grey.min() < 20
    assert grey.max() > 235


def test_worst_cases_are_drawn_over_the_scan_or_the_labels(folders, write_labels, tmp_path):
    predictions, labels = folders
    noise = np.random.default_rng(0).random((12, 14, 10)).astype(np.float32)
    write_labels(tmp_path / "scans" / "case_0_0000.nii.gz", noise)
    write_labels(tmp_path / "scans" / "case_1.nii.gz", noise[1:])
    spec = EvaluateSpec(predictions, labels, workers=0, images=tmp_path / "scans")
    text = (evaluate(spec).folder / "report.html").read_text(encoding="utf-8")
    parts = re.split('<section class="overlay">', text)[1:]
    by_case = {re.search(r"<h3>(.*?)</h3>", part).group(1): part for part in parts}
    assert set(by_case) == {"case_0", "case_1", "case_2"}
    assert "data:image/jpeg" in by_case["case_0"]
    assert "another grid" in by_case["case_1"]
    assert "Shades are the reference" in by_case["case_2"]
    assert "data:image/png" in by_case["case_2"]
    assert 'class="prediction" d="M' in by_case["case_2"]


def test_overlays_stay_within_their_budget(folders, write_labels):
    predictions, labels = folders
    pairs = [CasePair("case_0", labels / "case_0.nii.gz", predictions / "case_0.nii.gz")]
    (whole,) = draw_overlays(pairs, {}, ScoreSettings(), 0)
    (fewer,) = draw_overlays(pairs, {}, ScoreSettings(), 0, most_bytes=whole.size - 1)
    assert 0 < fewer.size < whole.size
    (none,) = draw_overlays(pairs, {}, ScoreSettings(), 0, most_bytes=10)
    assert none.planes == ()
    assert "Too large" in none.note


def test_images_without_any_case_end_with_one_line(folders, tmp_path, capsys):
    predictions, labels = folders
    (tmp_path / "scans").mkdir()
    command = ["evaluate", str(predictions), str(labels), "--images", str(tmp_path / "scans")]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds no scan of case_0" in line
    assert not (predictions / "cases.csv").exists()


def test_a_hundred_cases_of_many_organs_stay_under_10_mib(tmp_path, report):
    result, _ = report
    row = next(one for one in result.scores if one.status == "ok")
    scores = [
        replace(row, case=f"patient_{case:04d}", region=f"organ_number_{region}")
        for case in range(100)
        for region in range(15)
    ]
    path = tmp_path / "report.html"
    write_report(path, ReportTitle("a", "b", ""), scores, summarise(scores), {})
    assert path.stat().st_size + MOST_BYTES < 10 * 2**20
