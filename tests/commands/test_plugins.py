from pathlib import Path

import pytest

from tests.commands.conftest import Run


@pytest.mark.slow
def test_good_plugin_brings_a_command_and_a_layout(run_with_plugins: Run, tmp_path: Path) -> None:
    done = run_with_plugins("greet", "Ada", packages=("good",))
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello Ada\n", "")
    shown = run_with_plugins("datasets", "ls", packages=("good",))
    assert "flat\tmednext-good\tscans beside each other, without labels\n" in shown.stdout
    empty = run_with_plugins(
        "datasets", "verify", str(tmp_path), "--dataset", "flat", packages=("good",)
    )
    assert (empty.returncode, empty.stdout.count("\n")) == (0, 1)


def test_help_shows_strangers_in_a_panel_of_their_own(run_with_plugins: Run) -> None:
    shown = run_with_plugins("--help", packages=("good",)).stdout
    assert shown.index("Commands of plugins") < shown.index("greet")
    assert shown.index("phantom") < shown.index("Commands of plugins")


def test_broken_plugin_is_named_in_one_line_and_breaks_nothing_else(run_with_plugins: Run) -> None:
    shown = run_with_plugins("--help", packages=("broken", "good"))
    assert shown.returncode == 0
    assert "greet" in shown.stdout
    (line,) = [line for line in shown.stderr.splitlines() if "mednext-broken" in line]
    assert "RuntimeError: made to fail" in line
    assert "uninstall mednext-broken" in line
    other = run_with_plugins("phantom", "--help", packages=("broken",))
    assert (other.returncode, other.stderr) == (0, "")


def test_calling_a_broken_command_is_one_line(run_with_plugins: Run) -> None:
    done = run_with_plugins("shatter", packages=("broken",))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "made to fail" in done.stderr


@pytest.mark.slow
def test_names_that_are_taken_stay_ours(run_with_plugins: Run) -> None:
    shown = run_with_plugins("train", "--help", packages=("clash",))
    assert shown.returncode == 0
    assert "Train folds" in shown.stdout
    layouts = run_with_plugins("datasets", "ls", packages=("clash",)).stdout
    assert "the name msd is taken by mednext" in layouts
    assert "msd\tmednext\tMedical Segmentation Decathlon" in layouts


@pytest.mark.slow
def test_plugins_lists_all_with_their_state(run_with_plugins: Run) -> None:
    shown = run_with_plugins("plugins", "--check", packages=("good", "broken", "clash", "rude"))
    assert shown.returncode == 0
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert rows[0] == ["kind", "name", "package", "version", "status"]
    state = {(kind, name, package): (version, text) for kind, name, package, version, text in rows}
    assert state["commands", "greet", "mednext-good"] == ("1.2", "ok")
    assert state["datasets", "kits19", "mednext"][1] == "ok"
    assert "made to fail" in state["commands", "shatter", "mednext-broken"][1]
    assert "taken by mednext" in state["commands", "train", "mednext-clash"][1]
    assert "SystemExit" in state["commands", "leave", "mednext-rude"][1]
    assert "ends the process" in state["datasets", "slammed", "mednext-rude"][1]
    assert state["datasets", "moody", "mednext-rude"][1] == "ok"
    assert "pip install 'mednext-rude[engine]'" in state["engines", "absent", "mednext-rude"][1]


def test_plugins_alone_loads_none(run_with_plugins: Run) -> None:
    shown = run_with_plugins("plugins", packages=("broken", "rude", "clash"))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "networks\tmednext\tmednext\t" in shown.stdout
    assert "slam\n" not in shown.stdout
    assert "taken by mednext" in shown.stdout


@pytest.mark.slow
def test_rude_plugins_break_nothing_else(run_with_plugins: Run, tmp_path: Path) -> None:
    packages = ("rude", "good")
    shown = run_with_plugins("--help", packages=packages)
    assert (shown.returncode, "greet" in shown.stdout) == (0, True)
    assert [one.split()[2] for one in shown.stderr.splitlines()] == ["leave", "slam"]
    listed = run_with_plugins("datasets", "ls", packages=packages)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert {"flat", "moody", "gone", "slammed", "msd"} <= {
        line.split("\t")[0] for line in listed.stdout.splitlines()
    }
    # Its own layout refuses the folder; all others are asked whether they fit.
    asked = run_with_plugins(
        "datasets", "verify", str(tmp_path), "--dataset", "kits19", packages=packages
    )
    assert (asked.returncode, asked.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in asked.stderr


def test_calling_a_command_that_leaves_is_one_line(run_with_plugins: Run) -> None:
    done = run_with_plugins("leave", packages=("rude",))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "SystemExit" in done.stderr


@pytest.mark.slow
def test_selection_limits_strangers(run_with_plugins: Run) -> None:
    packages = ("good", "broken")
    none = run_with_plugins("datasets", "ls", packages=packages, selection="").stdout
    assert "mednext-" not in none
    assert "kits19" in none
    one = run_with_plugins("datasets", "ls", packages=packages, selection="x, mednext-good").stdout
    assert "mednext-good" in one
    assert "mednext-broken" not in one
