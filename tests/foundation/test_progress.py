import logging
from collections.abc import Iterator

import pytest

from mednext_cli.foundation import progress
from mednext_cli.foundation.progress import format_seconds, set_verbosity, track

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    yield
    set_verbosity()


def test_plain_lines_where_there_is_no_terminal(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    set_verbosity()
    with track("reading", 3) as steps:
        steps.advance(note="case_1")
        steps.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("reading: 1/3 cases, 0 s elapsed")
    assert lines[0].endswith("(case_1)")
    assert lines[1].startswith("reading: 3/3 cases")


def test_lines_come_now_and_then_only(capsys: Captured) -> None:
    set_verbosity()
    with track("reading", 100, "patches") as steps:
        for _ in range(100):
            steps.advance()
    assert capsys.readouterr().err == "reading: 100/100 patches, 0 s elapsed, 0 s left\n"


def test_a_better_total_gives_a_better_estimate_and_no_step_gives_none(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    seconds = iter((0.0, 10.0, 20.0, 20.0))
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    set_verbosity()
    with track("predicting", 100, "tiles") as steps:
        steps.advance(0)
        steps.expect(40)
        steps.advance(10)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "predicting: 0/100 tiles, 10 s elapsed",
        "predicting: 10/40 tiles, 20 s elapsed, 1 min 00 s left",
    ]


def test_an_earlier_runs_steps_do_not_shorten_the_estimate(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    seconds = iter((0.0, 10.0, 10.0))
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    set_verbosity()
    with track("training", 100, "iterations", done=90) as steps:
        steps.advance()
    assert capsys.readouterr().err.startswith(
        "training: 91/100 iterations, 10 s elapsed, 1 min 30 s left"
    )


def test_further_lines_of_a_note_stand_below_the_bar_and_in_no_log(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    set_verbosity()
    with track("training", 2) as steps:
        steps.advance(note="epoch 1\nbelow\x1b[2J\nlast")
    assert "below" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with track("training", 2) as steps:
        steps.advance(note="epoch 1\nbelow\x1b[2J\nlast")
    lines = [line.rstrip() for line in capsys.readouterr().err.splitlines()]
    assert any("training" in line and "epoch 1" in line for line in lines)
    assert r"below\x1b[2J" in lines
    assert "last" in lines


def test_bar_on_a_terminal(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    set_verbosity()
    with track("reading", 2) as steps:
        logging.getLogger("mednext_cli.test").warning("a [note] in between")
        steps.advance(2, note="case[0]")
    error = capsys.readouterr().err
    assert "reading" in error
    assert "2/2" in error
    assert "case[0]" in error
    assert "warning: a [note] in between" in error


def test_quiet_says_warnings_only(capsys: Captured) -> None:
    set_verbosity(quiet=True)
    with track("reading", 1) as steps:
        steps.advance()
    logging.getLogger("mednext_cli.test").info("not said")
    logging.getLogger("mednext_cli.test").warning("said")
    assert capsys.readouterr().err == "warning: said\n"


def test_verbose_says_everything(capsys: Captured) -> None:
    set_verbosity(verbose=True)
    logging.getLogger("mednext_cli.test").debug("detail")
    assert capsys.readouterr().err == "detail\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
