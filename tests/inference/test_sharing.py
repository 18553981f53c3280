"""Several processes on one output folder: each case once, nothing lost, nothing mixed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.leftovers import name_beside
from mednext_cli.inference.findings.files import CaseFiles
from mednext_cli.inference.record import PredictionRecord, Standing
from tests.inference.doomed import End, Meeting, start
from tests.inference.synthetic import predict, probabilities, save_model
from tests.inference.test_record import FAST, make_scan, maps

Capture = pytest.CaptureFixture[str]
_SECONDS = 900.0  # of patience on a busy machine
HELD = """
import sys, time
from pathlib import Path
from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.leftovers import name_beside
from mednext_cli.inference.record import PredictionRecord
folder, scan, settings = sys.argv[1:]
case = Case("ct", (Channel(Path(scan)),))
record = PredictionRecord(Path(folder), {"models": settings}, {})
record.begin([case])
print(record.claim(case).name, flush=True)
time.sleep(600)
"""


@contextmanager
def another_run(out: Path, scan: Path, settings: str = "same") -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed the case "ct", until it is killed."""
    words = [sys.executable, "-c", HELD, str(out), str(scan), settings]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "MINE\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_claim_holds_until_its_process_is_killed(tmp_path: Path) -> None:
    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    case, other = Case("ct", (Channel(scan),)), Case("mr", (Channel(scan),))
    record = PredictionRecord(out, {"models": "same"}, {})
    with another_run(out, scan) as process:
        record.begin([case, other])
        assert record.claim(case) is Standing.ELSEWHERE
        assert record.claim(other) is Standing.MINE
        process.kill()
        process.wait()
        assert record.claim(case) is Standing.MINE
        record.end()
    assert [path.name for path in out.iterdir()] == ["predict.json"]


def test_records_of_two_runs_are_joined(tmp_path: Path) -> None:
    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    cases = [Case(name, (Channel(scan),)) for name in ("a", "b", "c")]
    one, two = (PredictionRecord(out, {"models": "same"}, {}) for _ in range(2))
    for record in (one, two):
        record.begin(cases)
    for record, case in ((one, cases[0]), (two, cases[1]), (one, cases[2])):
        assert record.claim(case) is Standing.MINE
        record.prepare_writing(case)
        record.files(case).label_map.write_bytes(b"made")
        record.note(case, 1.0)
        record.release(case)
    assert [two.claim(case) for case in cases] == [Standing.DONE] * 3
    one.end()
    two.end()
    assert set(json.loads((out / "predict.json").read_text())["cases"]) == {"a", "b", "c"}


@pytest.mark.parametrize("force", [False, True])
def test_another_model_at_the_same_moment_is_refused(tmp_path: Path, force: bool) -> None:
    """Neither has made a label map yet."""
    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    case = Case("ct", (Channel(scan),))
    other = PredictionRecord(out, {"models": "other"}, {}, force=force)
    with another_run(out, scan):
        with pytest.raises(SettingsError, match=r"another run is filling .* with other models"):
            other.begin([case])
        known = json.loads((out / "predict.json").read_text())
        assert known["settings"] == {"models": "same"}
    other.begin([case])  # nobody runs any more and nothing was made
    other.end()


def test_a_run_waits_for_a_case_of_another_and_takes_it_over(
    model: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other is killed in the middle, as soon as this run says that it waits."""
    from mednext_cli.inference import sharing

    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    make_scan(tmp_path / "p1" / "mr.nii.gz", 2)
    assert predict(scan.parent, tmp_path / "alone", model, options=FAST) == 0
    settings = json.loads((tmp_path / "alone" / "predict.json").read_text())["settings"]
    code = HELD.replace('{"models": settings}', "__import__('json').loads(settings)")
    words = [sys.executable, "-c", code, str(out), str(scan), json.dumps(settings)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "MINE\n"

        def end_the_other(_: float) -> None:
            assert sorted(maps(out)) == ["mr.nii.gz"]
            other.kill()
            other.wait()

        monkeypatch.setattr(sharing.time, "sleep", end_the_other)
        capsys.readouterr()
        assert predict(scan.parent, out, model, options=FAST) == 0
    said = capsys.readouterr()
    assert "another run predicts ct: waiting for it" in said.err
    assert "2 made, 0 kept" in said.out
    assert maps(out) == maps(tmp_path / "alone")


@pytest.mark.slow
def test_three_runs_share_a_folder_and_one_is_killed(model: Path, tmp_path: Path) -> None:
    """The first has made one case; it is killed writing its second, when all have claimed one."""
    images, out, meeting = tmp_path / "scans", tmp_path / "out", tmp_path / "meeting"
    for number in range(12):
        make_scan(images / f"s{number:02d}.nii.gz", number)
    assert predict(images, tmp_path / "alone", model) == 0
    meeting.mkdir()
    plans = [(End(".nii.gz", 2), 2), (None, 1), (None, 1)]
    runs = [
        start(images, out, model, end=end, meeting=Meeting(str(meeting), len(plans), claims))
        for end, claims in plans
    ]
    said = [run.communicate(timeout=_SECONDS) for run in runs]
    assert runs[0].returncode not in (0, 2), said
    assert [run.returncode for run in runs[1:]] == [0, 0], said
    made = [int(out.split(": ")[1].split(" made")[0]) for out, _ in said[1:]]
    assert all(made)
    assert sum(made) == 11
    assert maps(out) == maps(tmp_path / "alone")
    known = json.loads((out / "predict.json").read_text())["cases"]
    assert sorted(known) == sorted(f"s{number:02d}" for number in range(12))
    assert all(entry["content"] for entry in known.values())
    assert not list(out.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_keeps_what_is_done(model: Path, tmp_path: Path, number: signal.Signals) -> None:
    """It comes while the third label map is written."""
    images, out = tmp_path / "scans", tmp_path / "out"
    for index in range(6):
        make_scan(images / f"s{index:02d}.nii.gz", index)
    end = End("s02.nii.gz", number=number)
    run = start(images, out, model, "--mirror", end=end, meeting=None)
    _, error = run.communicate(timeout=_SECONDS)
    assert run.returncode == 130, error
    assert "interrupted" in error
    done = maps(out)
    assert sorted(done) == ["s00.nii.gz", "s01.nii.gz"]
    assert not list(out.glob(".*"))
    assert predict(images, out, model, options=("--mirror",)) == 0
    assert len(maps(out)) == 6
    assert {name: maps(out)[name] for name in done} == done


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "done"),
    [
        (End("s00_probabilities.h5"), 0),
        (End("s02.nii.gz"), 2),
        (End("s02.nii.gz", placed=True), 3),
    ],
)
def test_a_killed_run_leaves_nothing_half_written(
    model: Path, tmp_path: Path, end: End, done: int
) -> None:
    """Killed with half a file beside its place, and with a label map that the record lacks."""
    images, out = tmp_path / "scans", tmp_path / "out"
    for index in range(6):
        make_scan(images / f"s{index:02d}.nii.gz", index)
    assert predict(images, tmp_path / "alone", model, options=("--mirror",)) == 0
    run = start(images, out, model, "--mirror", "--probabilities", end=end, meeting=None)
    _, error = run.communicate(timeout=_SECONDS)
    assert run.returncode not in (0, 2, 130), error
    whole, made = maps(tmp_path / "alone"), maps(out)
    assert made == {name: whole[name] for name in sorted(whole)[:done]}
    half = list(out.glob(f".{run.pid}-*"))
    assert len(half) == (not end.placed)
    assert predict(images, out, model, options=("--mirror", "--probabilities")) == 0
    assert maps(out) == whole
    assert len([probabilities(out, f"s{index:02d}") for index in range(6)]) == 6
    assert not list(out.glob(".*"))


def test_the_last_run_removes_half_written_files_from_all_folders(tmp_path: Path) -> None:
    out = tmp_path / "out"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    record = PredictionRecord(out, {"models": "same"}, {})
    record.begin([])
    files = CaseFiles(out, "mr")
    for path in (files.label_map, files.preview, files.volumes, files.changes):
        path.parent.mkdir(exist_ok=True)
        left = name_beside(path)
        left.with_name(left.name.replace(str(os.getpid()), str(dead.pid))).write_bytes(b"half")
    record.end()
    assert [path.name for path in out.rglob("*") if path.is_file()] == ["predict.json"]


def test_half_written_files_of_runs_elsewhere_are_spared(tmp_path: Path) -> None:
    """Of another machine nobody knows the processes; alone in the folder, a run knows enough."""
    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here = name_beside(out / "mr.nii.gz").name.replace(str(os.getpid()), str(dead.pid))
    elsewhere = here.replace(here.split("-")[1], "000000")
    record = PredictionRecord(out, {"models": "same"}, {})
    with another_run(out, scan):
        for name in (here, elsewhere):
            (out / name).write_bytes(b"half")
        record.begin([])
        assert [(out / name).exists() for name in (here, elsewhere)] == [False, True]
    record.end()
    record.begin([])
    assert not (out / elsewhere).exists()
    record.end()


def test_two_models_on_one_folder(model: Path, tmp_path: Path, capsys: Capture) -> None:
    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    other = save_model(tmp_path / "other.pt", 7)
    assert predict(scan, out, model, options=FAST) == 0
    assert predict(scan, out, other, options=FAST) == 2
    assert "made with other models" in capsys.readouterr().err
