"""What is odd about many cases is said in few lines, whichever process looked at them."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.preprocessing.synthetic import image_of, label_of, make_raw, run, write

Captured = pytest.CaptureFixture[str]


def without_forms(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.asarray(nibabel.load(path).dataobj), None), path)


def in_microns(path: Path) -> None:
    image = nibabel.load(path)
    made = nibabel.Nifti1Image(np.asarray(image.dataobj), np.diag([1e3, 1e3, 1e3, 1]))
    made.header.set_xyzt_units("micron")
    nibabel.save(made, path)


def warnings(capsys: Captured) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "warning: " in line]


@pytest.mark.parametrize("change", [without_forms, in_microns])
def test_what_is_odd_about_every_case_takes_four_lines(
    tmp_path: Path, capsys: Captured, change: Callable[[Path], None]
) -> None:
    raw = make_raw(tmp_path, 6)
    for number in range(6):
        change(image_of(raw, f"case_{number}"))
        change(label_of(raw, f"case_{number}"))
    for _ in range(2):  # kept cases are no less odd than new ones
        assert run(raw) == 0
        said = warnings(capsys)
        assert len(said) == 4
        assert said[0].startswith("warning: case_0: case_0.nii.gz: ")
        assert "3 more lines like that, of 3 cases: mednext datasets verify" in said[3]


def test_odd_things_of_different_kinds_do_not_hide_each_other(
    tmp_path: Path, capsys: Captured
) -> None:
    raw = make_raw(tmp_path, 6)
    for number in range(5):
        write(label_of(raw, f"case_{number}"), np.zeros((22 + number, 24, 12), np.uint8))
    without_forms(image_of(raw, "case_5"))
    without_forms(label_of(raw, "case_5"))
    assert run(raw, "-q") == 0
    said = warnings(capsys)
    assert sum("the label map is empty; the case is kept" in line for line in said) == 3
    assert len(said) == 5
    assert "2 more lines like that, of 2 cases" in said[3]
    assert said[4].startswith("warning: case_5: case_5.nii.gz: neither sform nor qform is set")


@pytest.mark.slow
def test_workers_say_it_as_the_main_process_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    raw = make_raw(tmp_path, 2)
    without_forms(image_of(raw))
    without_forms(label_of(raw))
    assert run(raw, "-q", workers=2) == 0
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert all(line.startswith("warning: case_0: case_0.nii.gz: neither") for line in lines)
