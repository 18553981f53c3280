"""Every command answers --help with one worked example and takes the shared options."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from mednext_cli.app import main
from mednext_cli.foundation.plugins import find_plugins


def _commands() -> list[tuple[str, ...]]:
    """The words that call each command, subcommands included."""
    calls: list[tuple[str, ...]] = []
    for plugin in find_plugins("commands").values():
        if not plugin.built_in:
            continue
        target = plugin.load()
        if isinstance(target, typer.Typer):
            for command in target.registered_commands:
                assert command.callback is not None
                calls.append((plugin.name, command.name or command.callback.__name__))
        else:
            calls.append((plugin.name,))
    return calls


def test_all_commands_of_the_design_are_there() -> None:
    assert {call[0] for call in _commands()} == {
        "preprocess", "train", "upkern", "predict", "evaluate", "leaderboard", "scale-report",
        "recipes", "plugins", "datasets", "weights", "phantom", "doctor",
        "experiment", "postprocess", "ensemble", "runs", "export", "models",
    }  # fmt: skip


def test_help_says_of_every_command_what_its_own_help_begins_with(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Groups of commands among them; it shows no command itself, whose options take long."""
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name in {call[0] for call in _commands()}:
        assert main([name, "--help"]) == 0
        _, _, own = capsys.readouterr().out.partition("[OPTIONS]")
        summary = next(line for line in own.splitlines()[1:] if line.strip()).strip()
        (line,) = [line for line in shown.splitlines() if line.startswith(f"│ {name} ")]
        assert line.strip("│ ").removeprefix(name).strip() == summary


def test_help_has_an_example_and_the_shared_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for call in _commands():
        assert main([*call, "--help"]) == 0
        shown = capsys.readouterr().out
        example = " ".join(("Example: mednext", *call))
        missing = [text for text in (example, "--quiet", "--verbose") if text not in shown]
        assert not missing, f"mednext {' '.join(call)} --help lacks {missing}"


def test_command_reference_is_up_to_date(root: Path) -> None:
    """docs/ is written from the commands and the table of CSV columns: make docs."""
    script = [sys.executable, str(root / "docs" / "generate.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
