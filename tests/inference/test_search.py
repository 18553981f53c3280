"""What `mednext predict` finds in folders as people have them, and what it says of the rest."""

import shutil
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.foundation.progress import set_verbosity
from mednext_cli.inference.archives import Scratch
from mednext_cli.inference.sources import find_cases
from tests.datasets.conftest import write_scan, write_series
from tests.inference.synthetic import PLAN, predict
from tests.volumes.formats.test_dicom import change

Captured = pytest.CaptureFixture[str]
NOISE = np.random.default_rng(0).normal(100, 20, (18, 20, 16)).astype(np.int16)
LABELS = (NOISE > 110).astype(np.uint8)
ENDINGS = [".NII.GZ", ".Nii", ".hdr", ".mgz", ".mhd", ".nhdr", ".MHA", ".Nrrd"]


def scan(path: Path, array: np.ndarray = NOISE) -> Path:
    return write_scan(path, array)


def ids(folder: Path, scratch: Scratch | None = None) -> list[str]:
    set_verbosity()  # as the command does
    return [case.id for case in find_cases(folder, PLAN, scratch=scratch)]


def made(out: Path) -> list[str]:
    return sorted(path.name for path in out.glob("*.nii.gz"))


def test_every_ending_in_upper_and_lower_case(
    model: Path, tmp_path: Path, capsys: Captured
) -> None:
    itk = pytest.importorskip("SimpleITK")
    source = itk.ReadImage(str(scan(tmp_path / "source.nii.gz")))
    folder = tmp_path / "scans"
    folder.mkdir()
    for ending in ENDINGS:
        path = folder / f"case{ending.replace('.', '_')}{ending.lower()}"
        if ending == ".mgz":
            import nibabel

            nibabel.save(nibabel.MGHImage(NOISE, np.eye(4)), path)
        else:
            itk.WriteImage(source, str(path))
        path.rename(path.with_name(path.name.removesuffix(ending.lower()) + ending))
    assert predict(folder, tmp_path / "out", model) == 0
    assert made(tmp_path / "out") == sorted(
        f"case{ending.replace('.', '_')}.nii.gz" for ending in ENDINGS
    )
    assert "passed over" not in capsys.readouterr().err


def test_sub_folders_name_their_cases(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    for place in ("p1/ct", "p2/ct", "p2/late/ct", "top"):
        scan(folder / f"{place}.nii.gz")
    assert predict(folder, tmp_path / "out", model) == 0
    names = ["p1_ct.nii.gz", "p2_ct.nii.gz", "p2_late_ct.nii.gz", "top.nii.gz"]
    assert made(tmp_path / "out") == names


def test_ids_that_meet_are_refused(model: Path, tmp_path: Path, capsys: Captured) -> None:
    scan(tmp_path / "scans" / "p1" / "ct.nii.gz")
    scan(tmp_path / "scans" / "p1_ct.nii.gz")
    assert predict(tmp_path / "scans", tmp_path / "out", model) == 2
    assert "are the same case (p1_ct)" in capsys.readouterr().err


def test_what_cannot_be_read_fails_by_itself(model: Path, tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "scans"
    scan(folder / "a.nii.gz")
    for name in ("b.nii.bz2", "c.img", "d.tar.gz", "e.zip"):
        (folder / name).write_bytes(b"no zip")
    (folder / "notes.txt").write_text("seen on Monday")
    assert predict(folder, tmp_path / "out", model) == 2
    said = capsys.readouterr().err
    assert "b.nii.bz2: .nii.bz2 is not read: convert it to .nii.gz" in said
    assert "c.img: the voxels of a scan without its header (.hdr)" in said
    assert "d.tar.gz is an archive that is not read: unpack it" in said
    assert "e.zip is damaged or no zip archive" in said
    assert "notes.txt (no scans)" in said
    assert "4 of 5 cases failed" in said
    assert made(tmp_path / "out") == ["a.nii.gz"]


@pytest.mark.parametrize(
    "name",
    ["segmentation", "imaging_seg", "imaging-label", "imaging_gt", "aggregated_MC_seg", "MASK",
     "brainmask", "labels", "labelmap", "Annotation1", "liver"],
)  # fmt: skip
def test_label_maps_beside_scans_are_passed_over(
    model: Path, tmp_path: Path, capsys: Captured, name: str
) -> None:
    """By their names, and what is only called after its organ by what it holds."""
    folder = tmp_path / "case_00000"
    scan(folder / "imaging.nii.gz")
    scan(folder / f"{name}.nii.gz", LABELS)
    assert predict(folder, tmp_path / "out", model) == 0
    assert made(tmp_path / "out") == ["imaging.nii.gz"]
    assert f"passed over in case_00000: {name}.nii.gz (label maps" in capsys.readouterr().err


def test_names_of_scans_are_not_taken_for_label_maps(tmp_path: Path) -> None:
    names = ["segovia_1", "masked", "t1", "labelled_by_date"]
    for name in names:
        scan(tmp_path / f"{name}.nii.gz")
    assert ids(tmp_path) == sorted(names)


def test_label_maps_alone_are_scans(tmp_path: Path) -> None:
    """Nobody can mean anything else with them."""
    for name in ("a_seg", "b_seg"):
        scan(tmp_path / f"{name}.nii.gz", LABELS)
    assert ids(tmp_path) == ["a_seg", "b_seg"]
    assert ids(tmp_path / "a_seg.nii.gz") == ["a_seg"]


def test_a_label_map_beside_the_folder_of_its_series(tmp_path: Path, capsys: Captured) -> None:
    pytest.importorskip("pydicom")
    write_series(tmp_path / "p1" / "dicom", NOISE)
    scan(tmp_path / "p1" / "segmentation.nii.gz", LABELS)
    assert ids(tmp_path) == ["p1_dicom"]
    assert "p1/segmentation.nii.gz (label maps by their names" in capsys.readouterr().err


def test_label_maps_among_many_scans(tmp_path: Path, capsys: Captured) -> None:
    for number in range(5):
        scan(tmp_path / f"case{number}.nii.gz", NOISE + np.int16(number))
    scan(tmp_path / "case1_liver.nii.gz", LABELS)
    scan(tmp_path / "labelsTr" / "case1.nii.gz", LABELS)
    assert ids(tmp_path) == [f"case{number}" for number in range(5)]
    said = capsys.readouterr().err
    assert "case1_liver.nii.gz (label maps: a few whole numbers" in said
    assert "labelsTr/case1.nii.gz (label maps by their names" in said


def test_earlier_predictions_are_no_scans(model: Path, tmp_path: Path, capsys: Captured) -> None:
    scan(tmp_path / "a.nii.gz")
    assert predict(tmp_path, tmp_path / "made", model) == 0
    capsys.readouterr()
    assert predict(tmp_path, tmp_path / "made", model) == 0
    shown = capsys.readouterr()
    assert "0 made, 1 kept" in shown.out
    assert f"passed over in {tmp_path.name}: made (label maps that mednext predict" in shown.err


def export(folder: Path) -> Path:
    """Two patients, a study and a series each, with scouts and a text."""
    pytest.importorskip("pydicom")
    for patient in ("p1", "p2"):
        write_series(folder / patient / "study" / "ct", NOISE)
        scout = write_series(folder / patient / "study" / "scout", NOISE[:, :, :1])
        change(next(scout.iterdir()), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    (folder / "README.TXT").write_text("Exported.")
    return folder


def test_nested_exports(model: Path, tmp_path: Path, capsys: Captured) -> None:
    assert predict(export(tmp_path / "export"), tmp_path / "out", model) == 0
    assert made(tmp_path / "out") == ["p1_study_ct.nii.gz", "p2_study_ct.nii.gz"]
    said = capsys.readouterr().err
    assert "p1/study/scout/slice900, p2/study/scout/slice900 (a localizer)" in said
    assert "README.TXT (no scans)" in said


def zipped(folder: Path, path: Path) -> Path:
    shutil.make_archive(str(path.with_suffix("")), "zip", folder)
    return path


@pytest.mark.parametrize("given", ["export.zip", ""])
def test_zip_archives(
    model: Path,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    """Given themselves, or in a folder; what was unpacked is gone afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "mail").mkdir()
    zipped(export(tmp_path / "export"), tmp_path / "mail" / "export.zip")
    assert predict(tmp_path / "mail" / given, tmp_path / "out", model) == 0
    above = "" if given else "export_"
    names = [f"{above}p1_study_ct.nii.gz", f"{above}p2_study_ct.nii.gz"]
    assert made(tmp_path / "out") == names
    assert "scout" in capsys.readouterr().err
    assert not list((tmp_path / "temporary").iterdir())


def hostile(write: Callable[[zipfile.ZipFile], object], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive)
    return path


def claiming(size: int) -> Callable[[zipfile.ZipFile], object]:
    """A file of a MiB that says it has another size."""

    def write(archive: zipfile.ZipFile) -> None:
        archive.writestr("a.nii", bytes(2**20))
        archive.filelist[0].file_size = size

    return write


HOSTILE: dict[str, Callable[[zipfile.ZipFile], object]] = {
    "which leads out of its folder": lambda one: one.writestr("../outside.nii.gz", b"x"),
    "outside.nii.gz' which leads": lambda one: one.writestr("/outside.nii.gz", b"x"),
    r"which leads out of its": lambda one: one.writestr("a\\..\\..\\outside.nii", b"x"),
    "would unpack to 1 files of 1.02e+03 GiB": claiming(2**40),
    "a.zip is damaged": claiming(100),
    "an archive in an archive": lambda one: one.writestr("inner.zip", b"x"),
    "damaged or no zip archive": lambda one: one.writestr("x" * 300 + ".nii", b"x"),
}


@pytest.mark.parametrize("reason", HOSTILE)
def test_archives_that_are_refused(
    model: Path, tmp_path: Path, capsys: Captured, reason: str
) -> None:
    (tmp_path / "mail").mkdir()
    path = hostile(HOSTILE[reason], tmp_path / "mail" / "a.zip")
    scan(tmp_path / "mail" / "b.nii.gz")
    assert predict(path.parent, tmp_path / "out", model) == 2
    assert reason in capsys.readouterr().err
    assert made(tmp_path / "out") == ["b.nii.gz"]
    assert not list(tmp_path.glob("outside*"))
    assert predict(path, tmp_path / "other", model) == 2
    assert reason in capsys.readouterr().err


def test_several_series_in_a_folder(model: Path, tmp_path: Path, capsys: Captured) -> None:
    """Each a case, named by its number; what is no volume is named."""
    folder = write_series(tmp_path / "flat", NOISE, SeriesNumber=2, SeriesDescription="Thorax")
    other = write_series(tmp_path / "other", NOISE[:, :, :9], SeriesNumber=3)
    shot = write_series(tmp_path / "shot", NOISE[:, :, :1], SeriesNumber=9)
    for path in other.iterdir():
        path.rename(folder / f"b{path.name}")
    path = next(shot.iterdir())
    change(path, ImagePositionPatient=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    import pydicom

    header = pydicom.dcmread(path)
    header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    header.save_as(folder / "shot")
    assert predict(folder, tmp_path / "out", model) == 0
    assert made(tmp_path / "out") == ["flat_series2.nii.gz", "flat_series3.nii.gz"]
    said = capsys.readouterr().err
    assert "series2: 16 slices, 'Thorax'" in said
    assert "passed over in flat: shot (Secondary Capture Image Storage)" in said
    assert predict(folder / "bslice900", tmp_path / "one", model) == 0
    assert made(tmp_path / "one") == ["bslice900.nii.gz"]


def test_a_number_of_a_series_leads_nowhere(model: Path, tmp_path: Path) -> None:
    folder = write_series(tmp_path / "flat", NOISE, SeriesNumber=11111)
    other = write_series(tmp_path / "other", NOISE, SeriesNumber=22222)
    for path in other.iterdir():
        content = path.read_bytes().replace(b"22222", b"../..")
        (folder / f"b{path.name}").write_bytes(content)
    assert predict(folder, tmp_path / "out", model) == 0
    assert made(tmp_path / "out") == ["flat_bslice885.nii.gz", "flat_slice885.nii.gz"]


def test_a_damaged_series_stops_no_other(model: Path, tmp_path: Path, capsys: Captured) -> None:
    folder = export(tmp_path / "export")
    sorted((folder / "p1" / "study" / "ct").iterdir())[0].write_bytes(b"")
    assert predict(folder, tmp_path / "out", model) == 2
    assert made(tmp_path / "out") == ["p2_study_ct.nii.gz"]
    assert "holds 1 damaged DICOM file: slice885 (empty)" in capsys.readouterr().err


@pytest.mark.parametrize("copied", [False, True])
def test_a_series_in_two_folders(
    tmp_path: Path, model: Path, capsys: Captured, copied: bool
) -> None:
    """Half of its slices in each are no volume in either; whole copies are."""
    first = write_series(tmp_path / "export" / "one", NOISE)
    second = tmp_path / "export" / "two"
    second.mkdir()
    for path in sorted(first.iterdir())[: None if copied else 8]:
        shutil.copy(path, second)
        if not copied:
            path.unlink()
    assert predict(tmp_path / "export", tmp_path / "out", model) == (0 if copied else 2)
    assert len(made(tmp_path / "out")) == (2 if copied else 0)
    assert ("lie in several folders" in capsys.readouterr().err) != copied


def test_symbolic_links_in_a_circle(tmp_path: Path) -> None:
    scan(tmp_path / "scans" / "p1" / "a.nii.gz")
    (tmp_path / "scans" / "p1" / "again").symlink_to(tmp_path / "scans")
    assert ids(tmp_path / "scans") == ["p1_a"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_names_in_either_unicode_form(model: Path, tmp_path: Path, form: str, asked: str) -> None:
    for name in ("Müller", "Noël"):
        scan(tmp_path / "scans" / f"{unicodedata.normalize(form, name)}.nii.gz")
    wanted = tmp_path / "wanted.txt"
    wanted.write_text(unicodedata.normalize(asked, "Müller\r\n"), encoding="utf-8-sig")
    options = ("--cases", str(wanted))
    assert predict(tmp_path / "scans", tmp_path / "out", model, options=options) == 0
    assert made(tmp_path / "out") == ["Müller.nii.gz"]


def test_names_as_long_as_they_can_be(model: Path, tmp_path: Path, capsys: Captured) -> None:
    """``_probabilities.npz`` is longer than any ending there is now; ü takes two bytes."""
    for name in ("x" * 250, "ü" * 124):
        scan(tmp_path / "scans" / f"{name}.nii")
    options = ("--probabilities",)
    assert predict(tmp_path / "scans", tmp_path / "out", model, options=options) == 0
    assert len(made(tmp_path / "out")) == 2
    assert capsys.readouterr().err.count("too long for a file's name: the case is called") == 2
    assert predict(tmp_path / ("y" * 300), tmp_path / "out", model) == 2
    assert "does not exist" in capsys.readouterr().err


def test_nothing_but_what_is_passed_over(model: Path, tmp_path: Path, capsys: Captured) -> None:
    scout = write_series(tmp_path / "scout", NOISE[:, :, :1])
    change(next(scout.iterdir()), ImageType=["LOCALIZER"])
    assert predict(scout, tmp_path / "out", model) == 2
    said = capsys.readouterr().err
    assert "slice900 (a localizer)" in said
    assert "holds no scans" in said
