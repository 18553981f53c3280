"""`mednext runs`: run folders listed, shown and compared, without PyTorch."""

import csv
import math
import subprocess
import sys
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.evaluation.tables.columns import SUMMARY
from mednext_cli.foundation.files import write_csv
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.recipe_files import write_recipe
from mednext_cli.training.columns import DICE, LOG
from mednext_cli.training.run_folder import RunFolder, run_folder

Row = dict[str, str]


def _make_run(
    runs: Path, fold: str = "0", *settings: str, cases: tuple[str, ...] = ("a", "b")
) -> RunFolder:
    """A run of two epochs of two, validated on `cases`."""
    folder = run_folder(runs, "toys", "S-k3", fold)
    settings = ("training.epochs=2", *settings)
    write_recipe(folder.recipe, load_recipe("mednext", settings), ["precision was 'auto'"])
    table = LOG.expand(DICE, ["dice_ball"])
    nothing = dict.fromkeys(table.names, math.nan)
    rows = [
        {**nothing, "epoch": 1, "seconds": 60.0, "step_seconds": 40.0, "dice_moving": 0.75},
        {**nothing, "epoch": 2, "seconds": 90.0, "step_seconds": 20.0, "dice_moving": 0.5},
    ]
    table.write(folder.log, rows)
    if cases:
        blank: dict[str, object] = dict.fromkeys(SUMMARY.names, math.nan)
        means = {"dice": (("ball", 0.875), ("box", math.nan), ("overall", 0.875)), "iou": ()}
        scores = [
            {**blank, "region": region, "metric": metric, "mean": mean}
            for metric, pairs in means.items()
            for region, mean in pairs
        ]
        SUMMARY.write(folder.validation / "summary.csv", scores)
        write_csv(folder.validation / "cases.csv", ["case"], [[case] for case in cases])
    return folder


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _run(tmp_path: Path, *arguments: object) -> list[Row]:
    """The table of a subcommand, as its CSV file has it."""
    out = tmp_path / "out.csv"
    assert main(["runs", *map(str, arguments), "--out", str(out)]) == 0
    return _read(out)


def test_runs_are_listed_with_dice_and_minutes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_run(tmp_path / "runs", "1", cases=())
    _make_run(tmp_path / "runs", "0")
    rows = _run(tmp_path, "ls", tmp_path / "runs")
    assert [row["run"] for row in rows] == ["toys/S-k3/fold0", "toys/S-k3/fold1"]
    assert rows[0] == {
        "run": "toys/S-k3/fold0",
        "dataset": "toys",
        "network": "S-k3",
        "fold": "0",
        "state": "validated",
        "epochs": "2",
        "of_epochs": "2",
        "minutes": "1.5",
        "patch_dice": "0.75",
        "dice": "0.875",
        "cases": "2",
    }
    assert [rows[1][name] for name in ("state", "dice", "cases")] == ["trained", "", ""]
    assert capsys.readouterr().out.splitlines()[1].split("\t")[0] == "toys/S-k3/fold0"


@pytest.mark.parametrize(
    ("settings", "state", "of"),
    [
        ("training.epochs=3", "training", "3"),
        ("training.minutes=1", "trained", ""),
        ("training.minutes=1.2", "training", ""),  # of steps, not of all that took 1.5
        ("training.minutes=9", "training", ""),
    ],
)
def test_a_run_is_trained_at_the_end_of_its_epochs_or_minutes(
    tmp_path: Path, settings: str, state: str, of: str
) -> None:
    _make_run(tmp_path / "runs", "0", settings, cases=())
    (row,) = _run(tmp_path, "ls", tmp_path / "runs")
    assert (row["state"], row["of_epochs"]) == (state, of)


@pytest.mark.parametrize(("patience", "state"), [(1, "trained"), (2, "training")])
def test_a_run_without_patience_left_is_trained(tmp_path: Path, patience: int, state: str) -> None:
    settings = ("training.epochs=9", f"training.patience={patience}")
    _make_run(tmp_path / "runs", "0", *settings, cases=())
    (row,) = _run(tmp_path, "ls", tmp_path / "runs")
    assert row["state"] == state


def test_damaged_runs_are_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    _make_run(runs, "0")
    _make_run(runs, "1").recipe.write_text("training = ", encoding="utf-8")
    _make_run(runs, "2").log.write_text("epoch,dice_moving\n1,much\n", encoding="utf-8")
    _make_run(runs, "3").recipe.unlink()
    (_make_run(runs, "4").validation / "summary.csv").write_bytes(b"\xff\xfe\xff")
    _make_run(runs, "5").recipe.write_text("[training]\n", encoding="utf-8")
    assert [row["fold"] for row in _run(tmp_path, "ls", runs)] == ["0"]
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 5
    for fold, (line, what) in enumerate(
        zip(
            warnings,
            ("not a TOML file", "'much'", "does not exist", "not a table", "training.epochs"),
            strict=True,
        ),
        start=1,
    ):
        assert f"fold{fold} is passed over: " in line
        assert what in line


def test_a_run_is_shown_with_its_scores_and_what_is_not_usual(tmp_path: Path) -> None:
    folder = _make_run(tmp_path / "runs", "0", "training.batch_size=1")
    shown = {row["what"]: row["value"] for row in _run(tmp_path, "show", folder.path)}
    assert shown["dice ball"] == "0.875"
    assert shown["dice box"] == ""
    assert shown["note"] == "precision was 'auto'"
    assert shown["training.batch_size"] == "1"
    assert shown["model.mednext.size"] == "S"
    assert "augmentation.rotation" not in shown


def test_a_comparison_has_dice_and_the_recipes_differences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    _make_run(runs, "0", "training.batch_size=1")
    _make_run(runs, "1", "training.batch_size=4", "model.mednext.kernel=5")
    rows = {row.pop("what"): row for row in _run(tmp_path, "compare", runs)}
    assert rows["dice ball"] == {"fold0": "0.875", "fold1": "0.875"}
    assert rows["minutes"] == {"fold0": "1.5", "fold1": "1.5"}
    assert {name for name in rows if "." in name} == {"training.batch_size", "model.mednext.kernel"}
    assert rows["training.batch_size"] == {"fold0": "1", "fold1": "4"}
    assert not capsys.readouterr().err


def test_other_cases_are_said_to_spoil_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = (_make_run(tmp_path / name, cases=(name,)) for name in ("a", "b"))
    rows = _run(tmp_path, "compare", one.path, other.path)
    assert list(rows[0]) == ["what", "a/toys/S-k3/fold0", "b/toys/S-k3/fold0"]
    assert "different cases" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["ls", "nowhere"], "nowhere is no folder"),
        (["ls", "empty"], "empty holds no runs"),
        (["show", "runs"], "runs holds 2 runs"),
        (["compare", "runs/toys/S-k3/fold0"], "one run is no comparison"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for fold in "01":
        _make_run(Path("runs"), fold)
    assert main(["runs", *command]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_run_folder_itself_is_a_place_to_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _make_run(tmp_path / "runs")
    monkeypatch.chdir(folder.path)
    (row,) = _run(tmp_path, "ls", ".")
    assert [row[name] for name in ("run", "dataset", "fold")] == [".", "toys", "0"]


def test_listing_loads_no_torch(tmp_path: Path) -> None:
    _make_run(tmp_path / "runs")
    code = (
        "import sys; from mednext_cli.app import main; "
        f"code = main(['runs', 'ls', {str(tmp_path / 'runs')!r}]); "
        "print(code, *({'torch', 'numpy', 'pandas'} & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["0"]
