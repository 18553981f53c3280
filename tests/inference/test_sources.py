"""Cases are found however their files are named; ambiguous and missing ones are named."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.foundation.errors import DatasetError, ScanError, SettingsError
from mednext_cli.inference.sources import check_volumes, find_cases, read_ids, select_cases
from mednext_cli.settings.plan import Plan
from tests.inference.synthetic import PLAN

ONE = PLAN
TWO = ONE.model_copy(update={"channels": ("T1", "T2"), "normalisation": ONE.normalisation * 2})


def _touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def _files(folder: Path, plan: Plan) -> dict[str, list[str]]:
    return {
        case.id: [channel.path.name.removesuffix(".nii.gz") for channel in case.channels]
        for case in find_cases(folder, plan)
    }


def test_channels_in_files_of_their_own(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "a_0000", "a_0001", "b_0000", "b_0001")
    assert _files(folder, TWO) == {"a": ["a_0000", "a_0001"], "b": ["b_0000", "b_0001"]}


def test_a_missing_channel_leaves_the_other_cases_alone(tmp_path: Path) -> None:
    folder = _touch(tmp_path, "a_0000", "a_0001", "b_0000", "c_0001")
    found = _files(folder, TWO)
    assert found["a"] == ["a_0000", "a_0001"]
    assert found["b"] == ["b_0000"]
    assert "c_0001" in found


def test_one_channel(tmp_path: Path) -> None:
    assert _files(_touch(tmp_path / "x", "a_0000", "b_0000"), ONE) == {
        "a": ["a_0000"],
        "b": ["b_0000"],
    }
    assert _files(_touch(tmp_path / "y", "a", "b.c"), ONE) == {"a": ["a"], "b.c": ["b.c"]}


@pytest.mark.parametrize("first", [0, 1])
def test_numbers_of_cases_are_no_channels(tmp_path: Path, first: int) -> None:
    names = [f"amos_{first + step:04d}" for step in range(3)]
    assert _files(_touch(tmp_path, *names), ONE) == {name: [name] for name in names}


def test_channels_too_many_are_not_taken_as_cases(tmp_path: Path) -> None:
    found = _files(_touch(tmp_path, "a_0000", "a_0001", "b_0000", "b_0001"), ONE)
    assert found == {"a": ["a_0000", "a_0001"], "b": ["b_0000", "b_0001"]}


def test_single_files_are_read_as_4d_where_there_are_channels(tmp_path: Path) -> None:
    cases = find_cases(_touch(tmp_path, "a") / "a.nii.gz", TWO)
    assert [channel.index for channel in cases[0].channels] == [0, 1]


@pytest.mark.parametrize("pair", [("a.nii", "a.nii.gz"), ("a_0000.nii", "a_0000.nii.gz"),
                                  ("a.nii", "a_0000.nii.gz")])  # fmt: skip
def test_two_files_for_a_case_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    for name in pair:
        (tmp_path / name).touch()
    with pytest.raises(DatasetError, match="are the same case"):
        find_cases(tmp_path, ONE)


def test_a_folder_of_folders_is_read_by_the_layout_it_follows(tmp_path: Path) -> None:
    _touch(tmp_path, "case_00003/imaging", "case_00001/imaging")
    other = ONE.model_copy(update={"layout": "nnunet"})
    assert [case.id for case in find_cases(tmp_path, other)] == ["case_00001", "case_00003"]
    assert [case.id for case in find_cases(tmp_path, ONE, "kits19")] == ["case_00001", "case_00003"]


def test_hidden_files_are_no_scans(tmp_path: Path) -> None:
    _touch(tmp_path, "a")
    (tmp_path / "._a.nii.gz").touch()
    assert list(_files(tmp_path, ONE)) == ["a"]


def test_ids_are_read_from_an_option_or_a_file(tmp_path: Path) -> None:
    assert read_ids("a, b") == ("a", "b")
    (tmp_path / "ids.txt").write_text("b\n\na\n")
    ids = read_ids(str(tmp_path / "ids.txt"))
    cases = find_cases(_touch(tmp_path / "scans", "a", "b", "c"), ONE)
    assert [case.id for case in select_cases(cases, ids)] == ["a", "b"]
    with pytest.raises(SettingsError, match="no case 'd'"):
        select_cases(cases, ("a", "d"))
    with pytest.raises(SettingsError, match="names no case"):
        read_ids(",")


@pytest.mark.parametrize(("volumes", "fits"), [(1, False), (2, True), (3, False)])
def test_a_4d_file_holds_a_volume_a_channel(tmp_path: Path, volumes: int, fits: bool) -> None:
    voxels = np.zeros((4, 5, 6, volumes) if volumes > 1 else (4, 5, 6), dtype=np.int16)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    case = find_cases(tmp_path, TWO)[0]
    if fits:
        check_volumes(case, TWO)
    else:
        with pytest.raises(ScanError, match="does not hold 2 volumes"):
            check_volumes(case, TWO)
