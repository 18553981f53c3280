"""NRRD and MetaImage headers that name the file of their voxels: one in their own folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.scans import format_of, read_grid, read_volume

pytest.importorskip("SimpleITK")
SECRET = bytes(range(64))
META = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\n"
OTHER = "../other/secret.raw"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nencoding: raw\n"
OUTSIDE = "names a file outside of its folder"
SEVERAL = "keeps its voxels in several files"


def folders(tmp_path: Path) -> Path:
    """A file that nobody meant to give, and the folder of the scan beside it."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "secret.raw").write_bytes(SECRET)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "link.raw").symlink_to(tmp_path / "other" / "secret.raw")
    (tmp_path / "scan" / "linked").symlink_to(tmp_path / "other", target_is_directory=True)
    return tmp_path / "scan"


REFUSED: dict[str, tuple[str, str]] = {
    "absolute": ("{out}/other/secret.raw", OUTSIDE),
    "relative": ("../other/secret.raw", OUTSIDE),
    "there and back": ("linked/../../other/secret.raw", OUTSIDE),
    "link": ("link.raw", OUTSIDE),
    "linked folder": ("linked/secret.raw", OUTSIDE),
    "password file": ("/etc/passwd", OUTSIDE),
    "list": ("LIST\n../other/secret.raw", SEVERAL),
    "list of volumes": ("LIST 3\n../other/secret.raw", SEVERAL),
    "list in small letters": ("list\n../other/secret.raw", SEVERAL),
    "pattern": ("../other/secret%d.raw 1 4 1 2", SEVERAL),
    "missing": ("nothing.raw", "does not exist"),
    "standard input": ("-", "damaged|does not exist"),
    "itself": (".", "does not exist"),
    "long name": ("x" * 300, "does not exist"),
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize(
    ("ending", "key"),
    [(".mha", "ElementDataFile = "), (".mhd", "ElementDataFile="), (".mhd", "\tElementDataFile : "),
     (".nrrd", "data file: "), (".nhdr", "datafile: "), (".nhdr", "DATA FILE: ")],
)  # fmt: skip
def test_outside_of_the_folder(tmp_path: Path, reason: str, ending: str, key: str) -> None:
    name, says = REFUSED[reason]
    path = folders(tmp_path) / f"a{ending}"
    start = META if ending.startswith(".m") else NRRD
    path.write_text(f"{start}{key}{name.format(out=tmp_path)}\n", encoding="utf-8")
    for read in (read_grid, read_volume):
        with pytest.raises(ScanError, match=says) as error:
            read(path)
        assert "\n" not in str(error.value)


TRICKS: dict[str, str] = {
    ".mha comment": f"{META}Comment = ElementDataFile = LOCAL\nElementDataFile = {OTHER}\n",
    ".mha long line": f"{META}Comment = {'x' * 4086}ElementDataFile = {OTHER}\n"
    f"ElementDataFile = LOCAL\n{'y' * 64}",
    ".mha return": f"{META}ElementDataFile = LOCAL\rElementDataFile = {OTHER}\n",
    ".mha small": f"{META}elementdatafile = {OTHER}\n",
    ".mha null": f"{META}Comment = a\0\nElementDataFile = {OTHER}\n",
    ".mha nothing": META,
    ".nrrd twice": f"{NRRD}data file: a.raw\ndata file: {OTHER}\n",
    ".nrrd windows": f"{NRRD}data file: {OTHER}\n".replace("\n", "\r\n"),
    ".nrrd without end": f"{NRRD}{'# comment' * 120_000}\ndata file: {OTHER}\n",
    ".nrrd is meta": f"{META}ElementDataFile = {OTHER}\n",
    ".mha is nrrd": f"{NRRD}data file: {OTHER}\n",
}


@pytest.mark.parametrize("name", TRICKS)
def test_headers_that_two_readers_may_understand_differently(tmp_path: Path, name: str) -> None:
    path = folders(tmp_path) / f"a{name.split()[0]}"
    (path.parent / "a.raw").write_bytes(bytes(64))
    path.write_bytes(TRICKS[name].encode())
    with pytest.raises(ScanError, match=r"damaged|outside of its folder"):
        read_volume(path)


def beside(folder: Path) -> str:
    (folder / "my voxels.raw").write_bytes(SECRET)
    return "my voxels.raw"


def below(folder: Path) -> str:
    (folder / "raw").mkdir()
    (folder / "raw" / "a.raw").write_bytes(SECRET)
    return "raw/a.raw"


def link_within(folder: Path) -> str:
    (folder / "b.raw").write_bytes(SECRET)
    (folder / "a.raw").symlink_to("b.raw")
    return "a.raw"


@pytest.mark.parametrize("make", [beside, below, link_within])
@pytest.mark.parametrize(
    ("ending", "key"), [(".mhd", "ElementDataFile = "), (".nhdr", "data file: ")]
)
def test_inside_of_the_folder(
    tmp_path: Path, make: Callable[[Path], str], ending: str, key: str
) -> None:
    path = folders(tmp_path) / f"a{ending}"
    start = META if ending == ".mhd" else NRRD
    name = make(path.parent)
    path.write_text(f"{start}{key}{name}\n", encoding="utf-8")
    assert np.array_equal(read_volume(path).array.ravel(order="F"), list(SECRET))
    assert format_of(path).files_of(path) == [path, path.parent / name]


def test_header_and_voxels_linked_from_one_folder(tmp_path: Path) -> None:
    """As data stores of their own keep them."""
    store, folder = tmp_path / "store", tmp_path / "scan"
    store.mkdir()
    folder.mkdir()
    (store / "a.raw").write_bytes(SECRET)
    (store / "a.mhd").write_text(META + "ElementDataFile = a.raw\n", encoding="utf-8")
    for name in ("a.mhd", "a.raw"):
        (folder / name).symlink_to(store / name)
    assert read_volume(folder / "a.mhd").array.max() == 63


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
def test_a_header_that_claims_an_absurd_size(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    (tmp_path / "a.raw").write_bytes(SECRET)
    start, key = (META, "ElementDataFile = ") if ending == ".mhd" else (NRRD, "data file: ")
    text = start.replace("4 4 4", "40000 40000 40000") + key + "a.raw\n"
    path.write_text(text, encoding="utf-8")
    for read in (read_grid, read_volume):
        with pytest.raises(ScanError, match=r"claims 5\.96e\+04 GiB of voxels, the file has 64"):
            read(path)


def test_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folders(tmp_path)
    for name in ("images", "labels"):
        (folder / name).mkdir()
        (folder / name / "a.mha").write_text(
            META + "ElementDataFile = ../../other/secret.raw\n", encoding="utf-8"
        )
    call = ["datasets", "verify", str(folder), "--dataset", "folder", "--workers", "0"]
    assert main(call) == 2
    assert OUTSIDE in capsys.readouterr().err
