from pathlib import Path

import pytest

import mednext_cli.datasets.verify as verify_module
from mednext_cli.app import main
from mednext_cli.volumes import footprint
from tests.datasets.conftest import write_label

Captured = pytest.CaptureFixture[str]


def test_a_fault_of_ours_in_one_case_leaves_the_others(
    msd: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify_module.read_volumes

    def faulty(path: Path, indices: object) -> object:
        if path.name == "b.nii.gz":
            raise ZeroDivisionError("ours")
        return real(path, indices)

    monkeypatch.setattr(verify_module, "read_volumes", faulty)
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

    monkeypatch.setattr(footprint, "read_grid", broken)
    assert main(["datasets", "verify", str(msd), "--dataset", "msd", "--workers", "0"]) == 0
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize("inside", [(), ("a.nii",)])
def test_a_folder_in_the_place_of_a_label_map_is_no_empty_one(
    msd: Path, inside: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Some tools unpack a.nii.gz into a folder of that name."""
    path = msd / "labelsTr" / "a.nii.gz"
    path.unlink()
    path.mkdir()
    for name in inside:
        write_label(path / name)
    call = [str(msd), "--dataset", "msd", "--workers", "0", "-q"]
    assert main(["datasets", "verify", *call]) == 2
    assert f"{path} is a folder, not a label map" in capsys.readouterr().out
    assert main(["preprocess", *call, "--cache", str(msd.parent / "cache")]) == 2
    said = capsys.readouterr().err
    assert f"warning: a: {path} " in said
    assert "1 of 2 cases failed: a. The others are done" in said
