from pathlib import Path

import pytest

import mednext_cli.datasets.verify as verify_module
from mednext_cli.app import main

Captured = pytest.CaptureFixture[str]


def test_a_fault_of_ours_in_one_case_leaves_the_others(
    msd: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify_module.read_volume

    def faulty(path: Path, index: int | None) -> object:
        if path.name == "b.nii.gz":
            raise ZeroDivisionError("ours")
        return real(path, index)

    monkeypatch.setattr(verify_module, "read_volume", faulty)
    assert main(["datasets", "verify", str(msd), "--dataset", "msd", "--workers", "0"]) == 1
    said = capsys.readouterr()
    rows = {line.split("\t")[0]: line for line in said.out.splitlines()}
    assert "ZeroDivisionError: ours. This is a fault of ours" in rows["b"]
    assert "4x5x6" in rows["a"]
    assert "1 of 3 cases failed: b (by a fault of ours)" in said.err


def test_a_header_that_breaks_the_estimate_of_memory_stops_nothing(
    msd: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        raise TypeError("a header nobody thought of")

    monkeypatch.setattr(verify_module, "read_grid", broken)
    assert main(["datasets", "verify", str(msd), "--dataset", "msd", "--workers", "0"]) == 0
    assert "3/3" in capsys.readouterr().err
