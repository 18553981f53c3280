from pathlib import Path

import pytest

from mednext_cli.app import main
from mednext_cli.datasets.columns import PHANTOMS


def test_table_on_stdout_is_tab_separated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phantom", str(tmp_path / "raw"), "--cases", "2", "--seed", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert tuple(lines[0].split("\t")) == PHANTOMS.names
    assert [line.split("\t")[0] for line in lines[1:]] == ["case_00000", "case_00001"]
    assert all(float(line.split("\t")[3]) > 100 for line in lines[1:])


@pytest.mark.slow
def test_workers_write_the_same(tmp_path: Path) -> None:
    for workers in ("0", "2"):
        folder = tmp_path / workers
        arguments = ["--cases", "3", "--shape", "12,48,48", "--workers", workers]
        assert main(["phantom", str(folder), *arguments]) == 0
    for path in sorted((tmp_path / "0").rglob("*.nii.gz")):
        other = tmp_path / "2" / path.relative_to(tmp_path / "0")
        assert path.read_bytes() == other.read_bytes()
