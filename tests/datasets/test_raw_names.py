"""Names as other systems write them: backslashes, letters and accents apart, control characters."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.datasets.raw_folder import Scans, inside, list_names, sorted_unique
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError
from tests.datasets.conftest import describe_msd, write_description, write_label, write_scan

Captured = pytest.CaptureFixture[str]
COMPOSED, APART = (unicodedata.normalize(form, "müller") for form in ("NFC", "NFD"))


def verify(raw: Path, layout: str) -> int:
    return main(["datasets", "verify", str(raw), "--dataset", layout, "--workers", "0"])


@pytest.mark.parametrize("start", [".\\", "", "./"])
def test_msd_paths_of_windows(msd: Path, start: str) -> None:
    describe_msd(
        msd,
        training=[
            {"image": f"{start}imagesTr\\{name}.nii.gz", "label": f"{start}labelsTr\\{name}.nii.gz"}
            for name in "ab"
        ],
        test=[f"{start}imagesTs\\c.nii.gz"],
    )
    assert [case.id for case in read_dataset(msd, "msd").labelled] == ["a", "b"]
    assert verify(msd, "msd") == 0


def test_nnunet_and_amos_paths_of_windows(tmp_path: Path) -> None:
    raw = tmp_path / "Dataset001_X"
    write_scan(raw / "imagesTr" / "a_0000.nii.gz")
    write_label(raw / "labelsTr" / "a.nii.gz")
    files = {"images": [".\\imagesTr\\a_0000.nii.gz"], "label": "labelsTr\\a.nii.gz"}
    known = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "x": 1}}
    write_description(raw, **known, file_ending=".nii.gz", dataset={"a": files})
    assert verify(raw, "nnunet") == 0
    listed = [{"image": ".\\imagesTr\\a.nii.gz", "label": ".\\labelsTr\\a.nii.gz"}]
    write_description(
        raw, modality={"0": "T1"}, labels={"0": "background", "1": "x"}, training=listed
    )
    assert verify(raw, "nnunet") == 0
    amos = tmp_path / "amos"
    write_scan(amos / "imagesTr" / "amos_0001.nii.gz")
    write_label(amos / "labelsTr" / "amos_0001.nii.gz")
    write_description(amos, training=[".\\imagesTr\\amos_0001.nii.gz", ".\\imagesTr\\._x.nii.gz"])
    assert verify(amos, "amos22") == 0


@pytest.mark.parametrize("images", [COMPOSED, APART])
def test_folder_with_names_in_two_forms(tmp_path: Path, images: str) -> None:
    raw = tmp_path / "raw"
    labels = APART if images == COMPOSED else COMPOSED
    write_scan(raw / "images" / f"{images}0.nii.gz")
    write_label(raw / "labels" / f"{labels}0.nii.gz")
    (case,) = read_dataset(raw, "folder").cases
    assert case.id == f"{COMPOSED}0"
    assert verify(raw, "folder") == 0
    call = ["preprocess", str(raw), "--dataset", "folder", "--cache", str(tmp_path / "cache")]
    assert main([*call, "--workers", "0"]) == 0


@pytest.mark.parametrize(("listed", "there"), [(COMPOSED, APART), (APART, COMPOSED)])
def test_msd_with_names_in_two_forms(msd: Path, listed: str, there: str) -> None:
    (msd / "imagesTr" / "a.nii.gz").rename(msd / "imagesTr" / f"{there}.nii.gz")
    (msd / "labelsTr" / "a.nii.gz").rename(msd / "labelsTr" / f"{there}.nii.gz")
    describe_msd(msd, training=[f"imagesTr/{listed}.nii.gz"], test=[])
    (case,) = read_dataset(msd, "msd").cases
    assert case.id == COMPOSED
    assert verify(msd, "msd") == 0


def test_nnunet_and_brats_with_names_in_two_forms(tmp_path: Path) -> None:
    raw = tmp_path / "Dataset001_X"
    write_scan(raw / "imagesTr" / f"{COMPOSED}_0000.nii.gz")
    write_scan(raw / "imagesTr" / f"{APART}_0001.nii.gz")
    write_label(raw / "labelsTr" / f"{APART}.nii.gz")
    known = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "x": 1}}
    write_description(raw, **known, file_ending=".nii.gz")
    assert [case.id for case in read_dataset(raw, "nnunet").labelled] == [COMPOSED]
    assert verify(raw, "nnunet") == 0
    brats = tmp_path / "brats"
    for what in ("t1", "t1ce", "t2", "flair"):
        write_scan(brats / f"BraTS21_{APART}" / f"BraTS21_{COMPOSED}_{what}.nii.gz")
    write_label(brats / f"BraTS21_{APART}" / f"BraTS21_{APART}_seg.nii.gz")
    assert verify(brats, "brats21") == 0


def test_two_names_that_read_alike_are_one_scan_twice(tmp_path: Path) -> None:
    for name in (COMPOSED, APART):
        write_scan(tmp_path / "images" / f"{name}.nii.gz")
    write_label(tmp_path / "labels" / f"{COMPOSED}.nii.gz")
    with pytest.raises(DatasetError, match=r"duplicate case: .*accents are written in two ways"):
        read_dataset(tmp_path, "folder")


def test_endings_in_upper_case(tmp_path: Path) -> None:
    write_scan(tmp_path / "images" / "a.nii.gz").rename(tmp_path / "images" / "a.NII.GZ")
    write_label(tmp_path / "labels" / "a.nii.gz").rename(tmp_path / "labels" / "a.NII.GZ")
    assert verify(tmp_path, "folder") == 0
    kits = tmp_path / "kits"
    write_scan(kits / "case_00000" / "imaging.nii.gz").rename(kits / "case_00000" / "imaging.NII")
    assert Scans(kits / "case_00000").path("imaging").name == "imaging.NII"


@pytest.mark.parametrize(
    "entry",
    ["../x.nii.gz", "..\\x.nii.gz", "imagesTr\\..\\..\\x.nii.gz", "C:\\data\\x.nii.gz", "c:/x.nii",
     "\\\\server\\share\\x.nii.gz", "//server/x.nii.gz", "/etc/passwd", ".", "./", "..", "a/..",
     "..\\"],
)  # fmt: skip
def test_entries_that_lead_out(tmp_path: Path, entry: str) -> None:
    with pytest.raises(DatasetError, match="points outside"):
        inside(tmp_path, entry, tmp_path / "dataset.json")


@pytest.mark.parametrize(
    ("entry", "says"),
    [("", "no file name"), (" ", "no file name"), (None, "no file name"), (["a"], "no file name"),
     ("a\0b", "control characters"), ("\x1b[2Ja.nii.gz", "control characters"),
     ("a\u202eb.nii", "control characters"), ("a\nb.nii", "control characters"),
     ("\ud800.nii", "not UTF-8"), ("x" * 256, "longer than 255 bytes"),
     ("ü" * 128 + "/a.nii", "longer than 255 bytes")],
)  # fmt: skip
def test_entries_that_are_no_names(tmp_path: Path, entry: object, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        inside(tmp_path, entry, tmp_path / "dataset.json")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_entries_that_stay_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_scan(tmp_path / "imagesTr" / "a.nii.gz")
    for entry in ("imagesTr/a.nii.gz", "./imagesTr/../imagesTr/a.nii.gz", str(path)):
        assert inside(tmp_path, entry, tmp_path / "dataset.json") == path
    monkeypatch.chdir(tmp_path)
    assert inside(Path(), str(path), Path("dataset.json")) == Path("imagesTr/a.nii.gz")


@pytest.mark.parametrize("case_id", ["", " ", ".a", "a/b", "a\\b", "..", "a\x1b", "é" * 121])
def test_ids_that_cannot_name_a_case(tmp_path: Path, case_id: str) -> None:
    with pytest.raises(DatasetError, match="cannot name a case"):
        sorted_unique([Case(case_id, (Channel(tmp_path / "x.nii.gz"),))], tmp_path)


def test_the_longest_id_is_prepared(tmp_path: Path) -> None:
    name = "x" * 240
    raw = tmp_path / "raw"
    write_scan(raw / "images" / f"{name}.nii.gz")
    write_label(raw / "labels" / f"{name}.nii.gz")
    call = ["preprocess", str(raw), "--dataset", "folder", "--cache", str(tmp_path / "cache")]
    assert main([*call, "--workers", "0"]) == 0
    assert (tmp_path / "cache" / "raw" / f"{name}.h5").is_file()


@pytest.mark.parametrize("name", ["a\x1b[2Jb.nii.gz", "a\nb.nii.gz", "a\u202eb.nii.gz"])
def test_names_in_a_folder_that_steer_a_terminal(
    tmp_path: Path, capsys: Captured, name: str
) -> None:
    write_scan(tmp_path / "images" / name)
    write_label(tmp_path / "labels" / "a.nii.gz")
    assert verify(tmp_path, "folder") == 2
    error = capsys.readouterr().err.strip()
    assert error.isprintable()
    assert "control characters" in error


def test_junk_of_macos_is_no_reason_to_stop(tmp_path: Path) -> None:
    for name in ("Icon\r", "._a.nii.gz", ".DS_Store"):
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "a").write_bytes(b"")
    assert list_names(tmp_path) == ["a"]


Refuse = Callable[[Path], None]


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Makes a folder one that may not be listed (permissions do not bind root)."""
    real = Path.iterdir

    def refuse(folder: Path) -> None:
        def iterdir(path: Path) -> object:
            if path == folder:
                raise PermissionError(13, os.strerror(13), str(path))
            return real(path)

        for path in [*folder.rglob("*.nii.gz")]:
            path.unlink()
        monkeypatch.setattr(Path, "iterdir", iterdir)

    return refuse


def test_a_case_folder_that_cannot_be_listed_fails_alone(
    tmp_path: Path, capsys: Captured, forbid: Refuse
) -> None:
    for number in (0, 1):
        write_scan(tmp_path / f"case_{number:05d}" / "imaging.nii.gz")
        write_label(tmp_path / f"case_{number:05d}" / "segmentation.nii.gz")
    forbid(tmp_path / "case_00000")
    assert verify(tmp_path, "kits19") == 2
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.startswith("case_00000\t1")
    assert "imaging.nii.gz" in first
    assert second.startswith("case_00001\t1\t4x5x6")


def test_a_subject_that_cannot_be_listed_fails_alone(
    tmp_path: Path, capsys: Captured, forbid: Refuse
) -> None:
    for number in (0, 1):
        write_scan(tmp_path / f"s{number:04d}" / "ct.nii.gz")
        write_label(tmp_path / f"s{number:04d}" / "segmentations" / "liver.nii.gz")
    forbid(tmp_path / "s0001")
    assert verify(tmp_path, "totalsegmentator") == 2
    assert "1 of 2 cases failed: s0001" in capsys.readouterr().err


def test_headers_that_begin_with_a_mark(tmp_path: Path, capsys: Captured) -> None:
    """MetaImage is read with it; NRRD's first line is what it is told by."""
    itk = pytest.importorskip("SimpleITK")
    numbers = np.random.default_rng(0)
    for folder, array in (
        ("images", numbers.normal(size=(4, 5, 6)).astype(np.float32)),
        ("labels", (numbers.random((4, 5, 6)) > 0.5).astype(np.uint8)),
    ):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "a.mhd"
        itk.WriteImage(itk.GetImageFromArray(array), str(path))
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert verify(tmp_path, "folder") == 0
    header = tmp_path / "images" / "a.nhdr"
    itk.WriteImage(itk.ReadImage(str(tmp_path / "images" / "a.mhd")), str(header))
    header.write_bytes(b"\xef\xbb\xbf" + header.read_bytes())
    for name in ("a.mhd", "a.raw", "a.zraw"):
        (tmp_path / "images" / name).unlink(missing_ok=True)
    assert verify(tmp_path, "folder") == 2
    assert "a.nhdr begins with a byte order mark" in capsys.readouterr().out
