"""Every CSV file is described once, and the description is what writes its header."""

import ast
import csv
import importlib
import shutil
from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.cache.columns import VERIFIED_CACHE
from mednext_cli.commands.csv_tables import TABLES
from mednext_cli.datasets.columns import VERIFIED
from mednext_cli.evaluation.ranking.columns import CONSENSUS, LEADERBOARD, PAIRWISE
from mednext_cli.evaluation.tables.columns import CASES, LESION_COLUMNS, SUMMARY
from mednext_cli.foundation.columns import Table
from mednext_cli.scaling.table import SCALE_REPORT
from tests.contracts.conftest import PACKAGE, python_files

_WRITERS = {"write_csv", "writer", "DictWriter", "to_csv"}


def test_only_a_table_writes_csv() -> None:
    places = {"foundation/files.py": "has write_csv", "foundation/columns.py": "has Table.write"}
    calling = {
        path.relative_to(PACKAGE).as_posix()
        for path in python_files("mednext_cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in _WRITERS
    }
    assert calling == set(places)


def test_every_table_is_listed() -> None:
    rooms = [path for path in PACKAGE.rglob("*.py") if "Table(" in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in rooms]
    found = {
        one.title
        for name in names
        for one in vars(importlib.import_module(name)).values()
        if isinstance(one, Table)
    }
    assert found == {table.title for table in TABLES}
    assert len(found) == len(TABLES) >= 10


def test_every_column_has_a_meaning() -> None:
    for table in TABLES:
        columns = (*table.columns, *table.further)
        assert len({column.name for column in columns}) == len(columns), table.title
        unsaid = [column.name for column in columns if not column.meaning.endswith(".")]
        assert not unsaid, f"{table.title}: {unsaid}"


def _header(path: Path) -> tuple[str, ...]:
    with path.open(newline="", encoding="utf-8") as stream:
        return tuple(next(csv.reader(stream)))


@pytest.mark.slow
def test_headers_that_commands_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """log.csv is written by a run: tests/training/test_train.py; phantom: tests/commands."""
    raw, cache, out = (str(tmp_path / name) for name in ("raw", "cache", "out"))
    calls = (
        ["phantom", raw, "--cases", "2", "--shape", "8,16,16"],
        ["preprocess", raw, "--dataset", "kits19", "--cache", cache, "--spacing", "4.0"],
        ["scale-report", "--models", "S", "--kernels", "3", "--patch", "32", "--out", out],
    )
    for call in calls:
        assert main([*call, "--quiet"]) == 0, capsys.readouterr().err
    (tmp_path / "predictions").mkdir()
    for path in (tmp_path / "raw").glob("*/segmentation.nii.gz"):
        shutil.copy(path, tmp_path / "predictions" / f"{path.parent.name}.nii.gz")
    scores = ["evaluate", str(tmp_path / "predictions"), raw, "--dataset", "kits19", "--quiet"]
    assert main([*scores, "--out", out, "--workers", "0", "--lesions", "iou"]) == 0
    methods = [f"{name}={tmp_path / 'out' / 'cases.csv'}" for name in ("one", "other")]
    assert main(["leaderboard", *methods, "--out", out, "--quiet"]) == 0
    folder = tmp_path / "out"
    lesions = tuple(column.name for column in LESION_COLUMNS)
    assert _header(folder / "cases.csv") == (*CASES.names, *lesions)
    for table in (SUMMARY, LEADERBOARD, PAIRWISE, CONSENSUS, SCALE_REPORT):
        assert _header(folder / table.title) == table.names
    for table, call in (
        (VERIFIED, [raw, "--dataset", "kits19"]),
        (VERIFIED_CACHE, ["--cache", cache]),
    ):
        assert main(["datasets", "verify", *call, "--out", out, "--workers", "0", "--quiet"]) == 0
        assert _header(folder / "verify.csv") == table.names
