"""DICOM as it comes: other orders and packings, broken copies, what lies beside the slices."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom import DICOM
from mednext_cli.volumes.scans import format_of, read_grid, read_volume
from tests.datasets.conftest import write_series
from tests.fuzzing import damaged_bytes, limits, only_ours, seeds

pydicom = pytest.importorskip("pydicom")
itk = pytest.importorskip("SimpleITK")
STORED = np.random.default_rng(0).integers(-50, 400, (5, 4, 6)).astype(np.int16)
SMOOTH = np.arange(64 * 64 * 2, dtype=np.int16).reshape(64, 64, 2)
PRIVATE = "1.3.12.2.1107.5.99.1"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
DEFLATED = "1.2.840.10008.1.2.1.99"


def slices(folder: Path) -> list[Path]:
    """In the order of their place: they are named against it."""
    return sorted(folder.iterdir(), reverse=True)


def change(path: Path, **elements: Any) -> None:
    """Set elements of a file; None takes one out."""
    header = pydicom.dcmread(path)
    for key, value in elements.items():
        delattr(header, key) if value is None else setattr(header, key, value)
    header.save_as(path)


def reclass(path: Path, uid: str) -> None:
    header = pydicom.dcmread(path)
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = uid
    header.save_as(path)


def strip_prefix(path: Path, *, implicit: bool = False, little: bool = True) -> None:
    """The bare data set, as old archives and toolkits store it."""
    header = pydicom.dcmread(path)
    stream = pydicom.filebase.DicomIO(io.BytesIO())
    stream.is_little_endian, stream.is_implicit_VR = little, implicit
    if not little:
        pixels = np.frombuffer(header.PixelData, "<i2")
        header.PixelData = pixels.astype(">i2").tobytes()
    pydicom.filewriter.write_dataset(stream, header)
    path.write_bytes(stream.parent.getvalue())


ANGLE = np.deg2rad(20)
OBLIQUE = [np.cos(ANGLE), np.sin(ANGLE), 0, 0, 0, -1]
PLANES: dict[str, list[float]] = {
    "axial": [1, 0, 0, 0, 1, 0],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "coronal": [1, 0, 0, 0, 0, -1],
    "head first prone": [-1, 0, 0, 0, -1, 0],
    "oblique": OBLIQUE,
}


@pytest.mark.parametrize("step", [2.5, -2.5], ids=["", "reversed"])
@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_is_read_as_itk_does(tmp_path: Path, plane: str, step: float) -> None:
    cosines = np.array(PLANES[plane])
    normal = np.cross(cosines[:3], cosines[3:])
    folder = write_series(
        tmp_path / "series",
        STORED,
        ImageOrientationPatient=cosines.tolist(),
        ImagePositionPatient=lambda number: (normal * step * number + [3, -4, 5]).tolist(),
        RescaleSlope=0.0371,
        RescaleIntercept=-3.5,
    )
    reader = itk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    itk.WriteImage(reader.Execute(), str(tmp_path / "twin.nii.gz"))
    made, expected = read_volume(folder), read_volume(tmp_path / "twin.nii.gz")
    assert np.allclose(made.array, expected.array, atol=1e-4)
    assert made.grid.same_as(expected.grid, 1e-5)


def test_slopes_of_their_own(tmp_path: Path) -> None:
    """As in PET, where every slice is scaled by itself."""
    folder = write_series(
        tmp_path / "series", STORED, RescaleSlope=lambda number: 0.5 + number, RescaleIntercept=0
    )
    made = read_volume(folder).array
    assert np.allclose(made, STORED.transpose(1, 0, 2) * (0.5 + np.arange(6)))


@pytest.mark.parametrize(
    "how", [{}, {"implicit": True}, {"little": False}], ids=["explicit", "implicit", "big endian"]
)
def test_files_without_their_prefix(tmp_path: Path, how: dict[str, bool]) -> None:
    folder = write_series(tmp_path / "series", STORED)
    expected = read_volume(folder)
    for path in slices(folder):
        strip_prefix(path, **how)
    made = read_volume(folder)
    assert np.array_equal(made.array, expected.array)
    assert made.grid.same_as(expected.grid)


def test_a_private_kind_of_image_is_read(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", STORED)
    reclass(slices(folder)[0], PRIVATE)
    assert read_volume(folder).array.shape == (4, 5, 6)


def deflate(path: Path) -> None:
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = DEFLATED
    header.save_as(path)


def pack(uid: str) -> Callable[[Path], None]:
    def packed(path: Path) -> None:
        header = pydicom.dcmread(path)
        header.compress(uid)
        header.save_as(path)

    return packed


PACKED = {
    "deflated": deflate,
    "run lengths": pack("1.2.840.10008.1.2.5"),
    "JPEG 2000": pack("1.2.840.10008.1.2.4.90"),
}


@pytest.mark.parametrize("packing", PACKED)
def test_packed_files(tmp_path: Path, packing: str) -> None:
    folder = write_series(tmp_path / "series", SMOOTH)
    expected = read_volume(folder)
    for path in slices(folder):
        PACKED[packing](path)
    assert np.array_equal(read_volume(folder).array, expected.array)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(len(content) * share)]


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "in the prefix": lambda content: content[:100],
    "in the header": cut(0.5),
    "in the pixels": lambda content: content[:-6],
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: np.random.default_rng(0).bytes(len(content)),
}


@pytest.mark.parametrize("ending", ["", ".dcm", ".IMA", ".123"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_slice_that_cannot_be_read_is_named(tmp_path: Path, how: str, ending: str) -> None:
    """The last one, without which the others would still be evenly spaced."""
    folder = write_series(tmp_path / "series", STORED)
    for path in slices(folder):
        path.rename(path.with_name(path.name + ending))
    last = slices(folder)[-1]
    last.write_bytes(BROKEN[how](last.read_bytes()))
    with pytest.raises(ScanError, match=f"holds 1 damaged DICOM file: {last.name} "):
        read_volume(folder)
    with pytest.raises(ScanError, match=last.name):
        read_grid(folder)


def test_nothing_but_empty_files(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.dcm").touch()
    with pytest.raises(ScanError, match=r"9 damaged DICOM files: 0\.dcm, .*and 3 more \(empty\)"):
        read_volume(tmp_path)


def test_what_lies_beside_the_slices_is_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", STORED)
    spare = write_series(tmp_path / "spare", STORED[:, :, :3])
    scout, structures, private = slices(spare)
    change(scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    scout.rename(folder / "scout")
    reclass(structures, STRUCTURES)
    structures.rename(folder / "structures")
    change(private, Rows=None, Columns=None, PixelData=None, SeriesInstanceUID="1.2.3")
    reclass(private, PRIVATE)
    private.rename(folder / "private")
    (folder / "readme").write_text("Exported on Monday.")
    assert read_volume(folder).array.shape == (4, 5, 6)
    said = "\n".join(format_of(folder).notes(folder))
    assert "scout (a localizer)" in said
    assert "structures (RT Structure Set Storage)" in said
    assert "private (an object of a private kind, without pixels)" in said
    assert "readme (no DICOM file)" in said


def test_a_localizer_among_the_slices_of_its_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", STORED)
    scout = slices(folder)[-1]
    change(scout, ImageType=["ORIGINAL", "LOCALIZER"], ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    assert read_volume(folder).array.shape == (4, 5, 5)
    assert f"{scout.name} (a localizer)" in format_of(folder).notes(folder)[0]


def test_a_file_stands_for_its_series(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "both", STORED)
    other = write_series(tmp_path / "other", STORED[:, :, :3] + np.int16(1))
    for path in slices(other):
        path.rename(folder / f"b{path.name}")
    with pytest.raises(ScanError, match=r"2 DICOM series \(bslice898: 3 slices, slice895: 6 sl"):
        read_volume(folder)
    assert read_volume(folder / "slice897").array.shape == (4, 5, 6)
    assert read_volume(folder / "bslice899").array.shape == (4, 5, 3)
    assert [path.name for path in DICOM.files_of(folder / "bslice899")] == [
        f"bslice{number}" for number in (898, 899, 900)
    ]


ODD: dict[str, dict[str, Any]] = {
    "PixelSpacing is missing": {"PixelSpacing": None},
    "ImagePositionPatient, ImageOrientationPatient are missing": {
        "ImagePositionPatient": None,
        "ImageOrientationPatient": None,
    },
    "another size than": {"Rows": 4},
    "another pixel spacing than": {"PixelSpacing": [0.8, 0.9]},
    "damaged": {"RescaleSlope": [1, 2]},
}


@pytest.mark.parametrize("reason", ODD)
def test_one_odd_slice(tmp_path: Path, reason: str) -> None:
    folder = write_series(tmp_path / "series", STORED)
    change(slices(folder)[3], **ODD[reason])
    with pytest.raises(ScanError, match=reason) as error:
        read_volume(folder)
    assert slices(folder)[3].name in str(error.value) or "slice900" in str(error.value)
    assert error.value.remedy


def test_enhanced_files_are_told(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", STORED[:, :, :1])
    reclass(slices(folder)[0], "1.2.840.10008.5.1.4.1.1.2.1")
    with pytest.raises(ScanError, match=r"several frames in one file .enhanced") as error:
        read_volume(folder)
    assert "dcm2niix" in error.value.remedy


def bomb(path: Path, **elements: Any) -> None:
    """Pixels of zeros, 256 MiB of them, deflated."""
    change(path, PixelData=b"", **elements)
    deflate(path)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    body = zlib.decompress(content[start:], -zlib.MAX_WBITS)[:-4]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = [packer.compress(body + (2**28).to_bytes(4, "little"))]
    packed += [packer.compress(bytes(2**22)) for _ in range(64)]
    path.write_bytes(content[:start] + b"".join([*packed, packer.flush()]))


@pytest.mark.parametrize(
    ("size", "reason"),
    [(16, "unpacks to more than its header claims"), (11585, "more than it can hold")],
    ids=["claims little", "claims much"],
)
def test_a_deflated_bomb(tmp_path: Path, size: int, reason: str) -> None:
    folder = write_series(tmp_path / "series", STORED[:, :, :1])
    bomb(slices(folder)[0], Rows=size, Columns=size)
    with limits(gib=0.1), pytest.raises(ScanError, match=reason):
        read_volume(folder)


@pytest.mark.parametrize(
    ("packing", "size", "reason"),
    [
        ("run lengths", 60000, "more than it can hold"),
        ("run lengths", 65, "damaged or cut off"),
        ("JPEG 2000", 60000, "more than it can hold"),
        ("JPEG 2000", 63, "damaged or cut off"),
    ],
)
def test_packed_pixels_of_another_size(
    tmp_path: Path, packing: str, size: int, reason: str
) -> None:
    """Whether the header or the stream claims too much, no decoder is asked."""
    folder = write_series(tmp_path / "series", SMOOTH[:, :, :1])
    PACKED[packing](slices(folder)[0])
    change(slices(folder)[0], Rows=size, Columns=size)
    with limits(gib=0.1), pytest.raises(ScanError, match=reason):
        read_volume(folder)


@pytest.mark.parametrize("packing", ["plain", "no prefix", *PACKED])
def test_random_damage_ends_in_our_errors(tmp_path: Path, packing: str) -> None:
    folder = write_series(tmp_path / "series", SMOOTH)
    for path in slices(folder):
        {"plain": lambda _: None, "no prefix": strip_prefix, **PACKED}[packing](path)
    path = slices(folder)[0]
    whole = path.read_bytes()
    start = whole[:1500]  # most of the header, where most can go wrong
    for seed in seeds(60):
        rest = whole[1500:]
        path.write_bytes(
            damaged_bytes(start, seed) + rest if seed % 3 else damaged_bytes(whole, seed)
        )
        with limits(gib=0.3), only_ours(seed):
            read_volume(folder)
            format_of(folder).notes(folder)


def test_a_kind_of_jpeg_that_is_not_decoded(tmp_path: Path) -> None:
    """The one that archives use most; the extra brings no decoder for it."""
    if pydicom.pixels.get_decoder("1.2.840.10008.1.2.4.70").is_available:
        pytest.skip("a decoder of it is installed")
    writer = itk.ImageFileWriter()
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(tmp_path / "slice.dcm"))
    writer.Execute(itk.GetImageFromArray(SMOOTH[np.newaxis, :, :, 0]))
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    change(tmp_path / "slice.dcm", SliceThickness=1, PixelSpacing=[1, 1], **place)
    with pytest.raises(ScanError, match=r"is compressed .JPEG Lossless.*cannot be dec") as error:
        read_volume(tmp_path)
    assert "dcm2niix" in error.value.remedy
