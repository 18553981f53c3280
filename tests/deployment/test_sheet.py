"""`mednext scale-report --clinical`: what is measured, kept and written."""

import csv
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.deployment import doubts, precision, scans, sheet
from mednext_cli.deployment.measurement import COLD_STAGES
from mednext_cli.deployment.specification import ClinicalSheetSpec
from mednext_cli.deployment.summary import WHOLE
from mednext_cli.deployment.table import CLINICAL
from mednext_cli.inference.stages import STAGES


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "clinical.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _clinical(model: Path, scan: Path, out: Path, *options: str) -> int:
    named = ["--model", str(model), "--scan", str(scan), "--out", str(out), "--device", "cpu"]
    always = ["--repeats", "2", "--threads", "1", "--quiet"]
    return main(["scale-report", "--clinical", *named, *always, *options])


def test_every_stage_is_a_row(model, scan, tmp_path, measured_here) -> None:
    assert _clinical(model, scan, tmp_path / "out", "--mirror", "--overlap", "0.25") == 0
    rows = _rows(tmp_path / "out")
    assert tuple(rows[0]) == CLINICAL.names
    assert [row["stage"] for row in rows] == [*COLD_STAGES, WHOLE]
    by_stage = {row["stage"]: row for row in rows}
    for column in ("cold_seconds", "warm_seconds"):
        parts = sum(float(by_stage[stage][column]) for stage in STAGES)
        assert float(by_stage[WHOLE]["cold_seconds"]) > 0
        assert float(by_stage[WHOLE][column]) == pytest.approx(parts, rel=0.5)
    assert by_stage["load"]["warm_seconds"] == ""
    assert by_stage["network"]["repeats"] == "2"
    assert float(by_stage["network"]["peak_gib"]) > 0.05
    one = by_stage[WHOLE]
    assert (one["voxels"], one["spacing_mm"]) == ("24 x 30 x 12", "1.5 x 1.5 x 3")
    assert (one["prepared_voxels"], one["target_spacing_mm"]) == ("18 x 22 x 18", "2 x 2 x 2")
    assert (one["patch_voxels"], one["overlap"], one["mirrorings"]) == ("16 x 32 x 16", "0.25", "2")
    assert one["tiles"] == "8"  # two along depth and width, mirrored or not
    assert (one["precision"], one["threads"], one["trained"]) == ("float32", "1", "1")
    assert not (tmp_path / "out" / ".lock").exists()


def test_what_is_measured_is_kept_and_what_failed_is_tried_again(
    model, scan, tmp_path, measured_here, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: False)
    options = ("--precisions", "float32,bfloat16")
    for _ in range(2):
        assert _clinical(model, scan, tmp_path / "out", *options) == 0
        assert "no arithmetic for bfloat16" in capsys.readouterr().err
    assert measured_here == ["torch 1"]
    failed = [row for row in _rows(tmp_path / "out") if row["precision"] == "bfloat16"]
    assert [row["stage"] for row in failed] == [WHOLE]
    assert failed[0]["problem"] == "this CPU has no arithmetic for bfloat16"
    assert failed[0]["cold_seconds"] == failed[0]["tiles"] == ""
    page = (tmp_path / "out" / "clinical.html").read_text(encoding="utf-8")
    assert "this CPU has no arithmetic for bfloat16" in page


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Graphs of tests are not kept among the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.slow
def test_an_interrupted_sheet_is_carried_on(model, scan, tmp_path, monkeypatch, measured_here):
    work = sheet.measure_apart

    def interrupted(task, on_tiles):
        if task.repeats and measured_here:
            raise KeyboardInterrupt
        return work(task, on_tiles)

    monkeypatch.setattr(sheet, "measure_apart", interrupted)
    options = ("--precisions", "float32", "--engines", "torch,openvino")
    assert _clinical(model, scan, tmp_path / "out", *options) == 130
    assert {row["engine"] for row in _rows(tmp_path / "out")} == {"torch"}
    page = (tmp_path / "out" / "clinical.html").read_text(encoding="utf-8")
    assert "1 of 2 configurations are not measured yet" in page
    monkeypatch.setattr(sheet, "measure_apart", work)
    assert _clinical(model, scan, tmp_path / "out", *options) == 0
    assert measured_here == ["torch 1", "openvino 1"]


def test_nothing_measured_is_an_error(model, scan, tmp_path, measured_here, capsys) -> None:
    scan.write_bytes(scan.read_bytes()[:-2000])
    assert _clinical(model, scan, tmp_path / "out") == 2
    assert "nothing could be measured" in capsys.readouterr().err
    assert _rows(tmp_path / "out")[0]["problem"]


def test_a_damaged_store_says_what_to_do(model, scan, tmp_path, capsys) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clinical.json").write_text('{"version": 7}')
    assert _clinical(model, scan, tmp_path / "out") == 2
    assert "Delete it" in capsys.readouterr().err


def test_figures_of_a_busy_machine_are_marked_and_measured_again(
    model, scan, tmp_path, measured_here, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(doubts, "_LEAST_CORES", 99.0)
    for _ in range(2):
        assert _clinical(model, scan, tmp_path / "out") == 0
        assert "the machine was busy" in capsys.readouterr().err
    assert measured_here == ["torch 1", "torch 1"]
    assert "the machine was busy" in _rows(tmp_path / "out")[0]["problem"]
    page = (tmp_path / "out" / "clinical.html").read_text(encoding="utf-8")
    assert "Not to be relied on" in page


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs beside the tests."""
    monkeypatch.setattr(doubts, "_LEAST_CORES", 0.0)


@pytest.mark.slow
def test_untrained_networks_on_made_up_scans(tmp_path, measured_here, monkeypatch) -> None:
    for name, kind in scans.MADE_UP.items():
        small = scans.MadeUp(kind.about, (32, 40, 24), (8.0, 8.0, 8.0), kind.channels, kind.draw)
        monkeypatch.setitem(scans.MADE_UP, name, small)
    spec = ClinicalSheetSpec(
        base_channels=4,
        patch_voxels=(32, 32, 32),
        spacing_mm=(8.0, 8.0, 8.0),
        classes=4,
        overlap=0.0,
        threads=(1,),
        device="cpu",
        repeats=1,
        out=tmp_path / "out",
    )
    result = sheet.clinical_sheet(spec)
    assert [(one.subject.name, one.scan.name) for one, _ in result.measured] == [
        ("S-k3-w4", "ct"),
        ("S-k3-w4", "mr"),
    ]
    (_, ct), (_, mr) = result.measured
    assert ct.prepared_voxels == (24, 40, 32)
    assert all(map(int.__lt__, mr.prepared_voxels, (24, 40, 32)))  # cropped to the head
    row = _rows(tmp_path / "out")[-1]
    assert (row["channels"], row["classes"], row["mirrorings"]) == ("4", "4", "1")
    assert row["trained"] == "0"


@pytest.mark.slow
def test_in_a_process_of_its_own_and_what_it_would_take(model, scan, tmp_path, capsys) -> None:
    assert _clinical(model, scan, tmp_path / "out", "--verbose", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "1 configurations, predictions 2 after the first: about" in said
    assert not (tmp_path / "out").exists()
    assert _clinical(model, scan, tmp_path / "out") == 0
    start = _rows(tmp_path / "out")[0]
    assert start["stage"] == "start"
    assert float(start["cold_seconds"]) > 0.1  # it has imported PyTorch


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--clinical", "--threads", "999"], "Give 1 to"),
        (["--clinical", "--engines", "torhc"], "unknown engine"),
        (["--clinical", "--volumes", "pet"], "unknown volume 'pet'"),
        (["--clinical", "--precisions", "int8"], "--precisions int8"),
        (["--clinical", "--models", "XL"], "unknown size 'XL'"),
        (["--clinical", "--patch", "100"], "nearest sizes are"),
        (["--clinical", "--repeats", "0"], "--repeats 0"),
        (["--clinical", "--measure"], "two reports"),
        (["--clinical", "--device-sheet", "h100"], "--clinical and --device-sheet are two"),
        (["--clinical", "--widths", "16"], "--clinical and --widths are two"),
        (["--clinical", "--model", "run", "--classes", "3"], "of its own"),
        (["--clinical", "--model", "missing.pt"], "missing.pt"),
        (["--repeats", "3"], "--repeats is for --clinical"),
    ],
)
def test_wrong_options_are_refused_in_one_line(tmp_path, capsys, options, reason) -> None:
    assert main(["scale-report", *options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.splitlines()) == 1


def test_a_network_of_several_channels_is_not_shown_the_ct(tmp_path, capsys) -> None:
    from tests.inference.synthetic import PLAN, save_model

    plan = PLAN.model_copy(
        update={"channels": ("T1", "T2"), "normalisation": PLAN.normalisation * 2}
    )
    path = save_model(tmp_path / "two.pt", 0, plan, channels=2)
    options = ["--model", str(path), "--volumes", "ct", "--out", str(tmp_path / "out")]
    assert main(["scale-report", "--clinical", *options]) == 2
    assert "the made-up CT has one channel" in capsys.readouterr().err
