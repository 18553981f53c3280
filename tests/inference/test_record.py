"""What a folder of label maps knows: nothing is replaced by chance, nothing is mixed."""

import errno
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.inference.synthetic import predict, save_model

Capture = pytest.CaptureFixture[str]
FAST = ("--overlap", "0")


def make_scan(path: Path, seed: int) -> Path:
    """A small scan."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(100, 20, size=(12, 14, 10)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def maps(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("[!.]*.nii.gz"))}


def record(out: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((out / "predict.json").read_text())
    return content


def test_another_scan_of_a_name_that_is_done_is_refused(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    first, second = (make_scan(tmp_path / f"p{n}" / "ct.nii.gz", n) for n in (1, 2))
    make_scan(tmp_path / "p2" / "mr.nii.gz", 3)
    out = tmp_path / "out"
    assert predict(first, out, model, options=FAST) == 0
    before = maps(out)
    for images in (second, second.parent):
        assert predict(images, out, model, options=FAST) == 2
        error = capsys.readouterr().err
        assert f"ct: {out / 'ct.nii.gz'} was made from another scan, {first}" in error
        assert "--force" in error
    assert maps(out)["ct.nii.gz"] == before["ct.nii.gz"]
    assert sorted(maps(out)) == ["ct.nii.gz", "mr.nii.gz"]  # the other case is done
    assert predict(second, out, model, options=(*FAST, "--force")) == 0
    assert maps(out)["ct.nii.gz"] != before["ct.nii.gz"]
    assert predict(second, out, model, options=FAST) == 0
    assert predict(first, out, model, options=FAST) == 2


def test_the_same_scan_elsewhere_is_done(model: Path, tmp_path: Path, capsys: Capture) -> None:
    scan, out = make_scan(tmp_path / "p1" / "ct.nii.gz", 1), tmp_path / "out"
    assert predict(scan, out, model, options=FAST) == 0
    copied = tmp_path / "copied" / "ct.nii.gz"
    copied.parent.mkdir()
    shutil.copyfile(scan, copied)
    linked = tmp_path / "linked" / "ct.nii.gz"
    linked.parent.mkdir()
    linked.symlink_to(scan)
    moved = tmp_path / "moved"
    for images in (copied, linked):
        capsys.readouterr()
        assert predict(images, out, model, options=FAST) == 0
        assert "0 made, 1 kept" in capsys.readouterr().out
    scan.parent.rename(moved)
    assert predict(moved, out, model, options=FAST) == 0
    assert "0 made, 1 kept" in capsys.readouterr().out


def test_a_link_that_leads_elsewhere_now_is_another_scan(
    model: Path, tmp_path: Path, capsys: Capture
) -> None:
    for number in (1, 2):
        make_scan(tmp_path / f"p{number}" / "ct.nii.gz", number)
    current, out = tmp_path / "current", tmp_path / "out"
    current.symlink_to(tmp_path / "p1")
    assert predict(current, out, model, options=FAST) == 0
    current.unlink()
    current.symlink_to(tmp_path / "p2")
    assert predict(current, out, model, options=FAST) == 2
    assert "was made from another scan" in capsys.readouterr().err


def test_one_scan_under_two_names_is_two_cases(model: Path, tmp_path: Path) -> None:
    scan = make_scan(tmp_path / "p1" / "ct.nii.gz", 1)
    shutil.copyfile(scan, scan.with_name("again.nii.gz"))
    assert predict(scan.parent, tmp_path / "out", model, options=FAST) == 0
    found = maps(tmp_path / "out")
    assert found["ct.nii.gz"] == found["again.nii.gz"]


def test_a_name_is_free_again_when_its_label_map_is_gone(model: Path, tmp_path: Path) -> None:
    first, second = (make_scan(tmp_path / f"p{n}" / "ct.nii.gz", n) for n in (1, 2))
    out = tmp_path / "out"
    assert predict(first, out, model, options=FAST) == 0
    (out / "ct.nii.gz").unlink()
    assert predict(second, out, model, options=FAST) == 0


def test_forcing_one_case_with_other_settings_touches_no_other(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model) == 0
    before = maps(out)
    assert predict(scans, out, model, options=("--force", "--cases", "oblique", *FAST)) == 2
    error = capsys.readouterr().err
    assert "made with other overlap; --force would leave anisotropic, swapped as they" in error
    assert maps(out) == before
    assert predict(scans, out, model, options=("--force", *FAST)) == 0
    assert record(out)["settings"]["overlap"] == [0.0]  # type: ignore[index]
    assert predict(scans, out, model, options=("--force", "--cases", "oblique", *FAST)) == 0


@pytest.mark.slow
def test_old_label_maps_stay_until_the_new_ones_are_whole(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from mednext_cli.inference import average

    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    assert predict(scans, out, model, options=(*FAST, "--probabilities")) == 0
    before = maps(out)
    real, calls = average.predict_blocks, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    options = (*FAST, "--force", "--workers", "0")
    with monkeypatch.context() as patch:
        patch.setattr(average, "predict_blocks", interrupted)
        assert predict(scans, out, other, options=options) == 130
    assert list(maps(out)) == list(before)
    changed = [name for name, content in maps(out).items() if content != before[name]]
    assert changed == ["anisotropic.nii.gz"]
    assert not (out / "anisotropic_probabilities.h5").exists()  # of the older label map
    assert (out / "oblique_probabilities.h5").exists()
    assert predict(scans, out, model, options=FAST) == 2  # half of one, half of the other
    capsys.readouterr()
    assert predict(scans, out, other, options=options) == 0
    assert "2 made, 1 kept" in capsys.readouterr().out
    assert all(content != before[name] for name, content in maps(out).items())


def test_a_forced_run_that_failed_in_a_case_is_not_carried_on_for_ever(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model, options=FAST) == 0
    whole = (scans / "oblique.nii.gz").read_bytes()
    (scans / "oblique.nii.gz").write_bytes(b"no scan")
    assert predict(scans, out, model, options=(*FAST, "--force")) == 2
    (scans / "oblique.nii.gz").write_bytes(whole)
    capsys.readouterr()
    assert predict(scans, out, model, options=(*FAST, "--force")) == 0
    assert "3 made, 0 kept" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"settings": 5}', '{"version": "x"}', "null"])
def test_a_damaged_record_is_named(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture, content: str
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model, options=FAST) == 0
    (out / "predict.json").write_text(content)
    before = maps(out)
    assert predict(scans, out, model, options=FAST) == 2
    assert "predict.json is damaged" in capsys.readouterr().err
    assert predict(scans, out, model, options=(*FAST, "--force", "--cases", "oblique")) == 2
    assert maps(out) == before
    assert predict(scans, out, model, options=(*FAST, "--force")) == 0
    assert predict(scans, out, model, options=FAST) == 0
    assert "0 made, 3 kept" in capsys.readouterr().out


def test_a_record_of_a_newer_version_is_left_alone(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "predict.json").write_text('{"version": 99}')
    assert predict(scans, out, model, options=("--force",)) == 2
    assert "written by a newer mednext" in capsys.readouterr().err
    assert (out / "predict.json").read_text() == '{"version": 99}'


def test_a_record_of_the_first_version_is_read(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out, options = tmp_path / "out", (*FAST, "--cases", "oblique")
    assert predict(scans, out, model, options=options) == 0
    scan = scans / "oblique.nii.gz"
    status = scan.stat()
    noted = [[str(scan), status.st_size, status.st_mtime_ns]]
    known = record(out)
    first = {key: known[key] for key in ("settings", "provenance")}
    cases = {"oblique": {"scans": noted, "seconds": 1.5}}
    (out / "predict.json").write_text(json.dumps({**first, "cases": cases}))
    capsys.readouterr()
    assert predict(scans, out, model, options=options) == 0
    assert "0 made, 1 kept" in capsys.readouterr().out
    other = make_scan(tmp_path / "p2" / "oblique.nii.gz", 9)
    assert predict(other, out, model, options=options) == 2
    assert "was made from another scan" in capsys.readouterr().err
    os.utime(scan, (1, 1))
    assert predict(scans, out, model, options=options) == 0
    assert "1 made, 0 kept" in capsys.readouterr().out


def test_files_of_others_beside_ours_are_not_replaced(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model, options=(*FAST, "--cases", "oblique")) == 0
    (out / "swapped.nii.gz").write_bytes(b"years of work")
    assert predict(scans, out, model, options=FAST) == 2
    assert "swapped.nii.gz is there, and not made by mednext" in capsys.readouterr().err
    assert (out / "swapped.nii.gz").read_bytes() == b"years of work"


def test_the_output_folder_may_lie_among_the_scans_but_not_be_theirs(
    scans: Path, model: Path, capsys: Capture
) -> None:
    inside = scans / "out"
    for expected in ("3 made", "0 made, 3 kept"):
        assert predict(scans, inside, model, options=FAST) == 0
        assert expected in capsys.readouterr().out
    for scan in scans.glob("*.nii.gz"):
        scan.rename(scans / f"{scan.name.removesuffix('.nii.gz')}_0000.nii.gz")
    assert predict(scans, scans, model, options=FAST) == 2
    assert "is the folder of the scans" in capsys.readouterr().err
    assert not list(scans.glob("predict.json"))


@pytest.mark.parametrize("method", ["mkdir", "touch"])
def test_an_output_folder_that_takes_no_files_is_refused_before_anything_is_loaded(
    scans: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, method, refuse)
    assert predict(scans, tmp_path / "out", tmp_path / "none.pt") == 2
    error = capsys.readouterr().err
    assert "out cannot be written: read-only file system. Choose a folder" in error
    assert len(error.splitlines()) == 1


def test_an_output_folder_that_is_a_file_is_refused(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        assert predict(scans, out, model) == 2
        assert "out" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"
