"""How much memory a case takes, as far as its header tells."""

from pathlib import Path

from mednext_cli.volumes.footprint import Footprint, peek_grid, peek_voxels
from tests.datasets.conftest import write_scan


def test_a_header_tells_the_voxels(tmp_path: Path) -> None:
    write_scan(tmp_path / "a.nii.gz")
    assert peek_voxels(tmp_path / "a.nii.gz") == 120
    grid = peek_grid(tmp_path / "a.nii.gz")
    assert grid is not None
    assert sorted(grid.shape) == [4, 5, 6]


def test_what_cannot_be_read_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    assert peek_grid(tmp_path / "a.nii.gz") is None
    assert peek_voxels(tmp_path / "missing.nii.gz") == 0


def test_bytes_go_with_the_voxels() -> None:
    assert Footprint(100, 16).bytes_for(10) == 260
    assert Footprint(100, 0).bytes_for(10) == 100
