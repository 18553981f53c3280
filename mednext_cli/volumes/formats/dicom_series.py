"""What DICOM files a folder holds: series of slices, other objects, and files that are damaged.

Nothing is left out in silence: `Contents` has every file of the folder in one of its lists.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.formats.dicom_bytes import ENDINGS, has_dicom_name, is_dicom
from mednext_cli.volumes.formats.dicom_header import COPY, Header, read_header
from mednext_cli.volumes.scan_names import is_scan_name

_MOST_NAMED = 6
_TEXT = 512  # bytes that are looked at to tell a text from a broken DICOM file
_LONGEST_ENDING = 5


@dataclass(frozen=True)
class Series:
    """The slices of one SeriesInstanceUID in a folder.

    Attributes:
        slices: sorted by file name; without localizers, unless there is nothing else.
        localizers: scouts among the slices.
        damaged: files that say they are of this series and cannot be read.
    """

    slices: tuple[Header, ...]
    localizers: tuple[Header, ...] = ()
    damaged: tuple[Header, ...] = ()

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return (*self.slices, *self.damaged)[0].series

    @property
    def path(self) -> Path:
        """Its first file by name, which stands for the series."""
        return (*self.slices, *self.damaged)[0].path

    @property
    def no_volume(self) -> str:
        """Why nobody would take it for a volume: a localizer, a screenshot; else ""."""
        if not self.slices:
            return ""
        if all(header.localizer for header in self.slices):
            return "a localizer"
        flat = self.slices[0].flat
        return flat if flat and not all(header.position for header in self.slices) else ""


@dataclass(frozen=True)
class Contents:
    """A folder's DICOM files.

    Attributes:
        folder: the folder.
        series: those with a slice or a damaged file, in the order of their first files.
        damaged: files that cannot be read, and nothing says of which series they are.
        others: what is no slice and why, by path.
    """

    folder: Path
    series: tuple[Series, ...]
    damaged: tuple[Header, ...]
    others: dict[Path, str]

    @property
    def volumes(self) -> tuple[Series, ...]:
        """The series that should be volumes."""
        return tuple(series for series in self.series if not series.no_volume)


def holds_dicom(folder: Path) -> bool:
    """Whether a file in the folder is DICOM, or has a name that says so; reads a few bytes."""
    try:
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        return any(_may_be_dicom(path) for path in files)
    except OSError:
        return False


def _may_be_dicom(path: Path) -> bool:
    return path.is_file() and (
        has_dicom_name(path) or (not is_scan_name(path.name) and is_dicom(path))
    )


def dicom_files(folder: Path) -> list[Path]:
    """The files of a folder that are DICOM, or should be, sorted by name.

    A file that does not begin as DICOM does should be, if its ending is that of DICOM files or of
    those beside it: copies break off, and leave empty files. Texts are not meant.

    Raises:
        ScanError: the folder cannot be listed.
    """
    files = [path for path in _list(folder) if not is_scan_name(path.name)]
    whole = {path for path in files if is_dicom(path)}
    endings = {_ending(path) for path in whole} | set(ENDINGS)
    return [
        path
        for path in files
        if path in whole or (_ending(path) in endings and not (_is_text(path) and whole))
    ]


def _list(folder: Path) -> list[Path]:
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
        return sorted(path for path in found if path.is_file())
    except OSError as error:
        raise ScanError(f"{folder} cannot be listed: {error.strerror}", "Check it.") from error


def _ending(path: Path) -> str:
    """The ending in lower case; "" for numbers, as in names that are UIDs."""
    ending = path.suffix.lower()
    return "" if ending[1:].isdigit() or len(ending) > _LONGEST_ENDING else ending


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            start = stream.read(_TEXT)
    except OSError:
        return False
    return bool(start) and all(byte >= 32 or byte in b"\t\r\n" for byte in start)


def read_contents(folder: Path) -> Contents:
    """Sort out a folder by the headers of its files.

    Raises:
        ScanError: the folder cannot be listed, or pydicom is not installed.
    """
    files = dicom_files(folder)
    headers = [read_header(path) for path in files]
    with_slices = {header.series for header in headers if header.kind == "slice"}
    groups: dict[str, list[Header]] = {}
    others = {path: "no DICOM file" for path in _list(folder) if path not in set(files)}
    lost = []
    for header in headers:
        if header.kind == "object" and (header.known or header.series not in with_slices):
            others[header.path] = header.why
        elif header.kind == "slice" or (header.series and header.series in with_slices):
            groups.setdefault(header.series, []).append(header)
        else:
            lost.append(header)
    return Contents(folder, tuple(map(_series, groups.values())), tuple(lost), others)


def _series(headers: Sequence[Header]) -> Series:
    slices = [header for header in headers if header.kind == "slice"]
    planned = [header for header in slices if not header.localizer]
    return Series(
        tuple(planned or slices),
        tuple(header for header in slices if planned and header.localizer),
        tuple(header for header in headers if header.kind != "slice"),
    )


def find_series(path: Path) -> Series:
    """The series that a folder holds, or that a file is of.

    Raises:
        ScanError: none or several, files that cannot be read, or pydicom is not installed.
    """
    if not path.exists():
        raise ScanError(f"{path} does not exist", "Check the path, or copy the series again.")
    contents = read_contents(path if path.is_dir() else path.parent)
    if contents.damaged:
        raise _damaged(contents.folder, contents.damaged)
    found = contents.volumes or contents.series
    if not path.is_dir():
        found = tuple(series for series in contents.series if path in _paths(series))
    if not found:
        what = sorted(set(contents.others.values()) - {"no DICOM file"})
        only = f", only {', '.join(what)}" if what else ""
        raise ScanError(f"{path} holds no DICOM slices{only}", "Give the folder of one series.")
    if len(found) > 1:
        raise ScanError(
            f"{path} holds {len(found)} DICOM series ({_name_all(found)})",
            "Give every series a folder of its own.",
        )
    if found[0].damaged:
        raise _damaged(contents.folder, found[0].damaged)
    return found[0]


def _paths(series: Series) -> list[Path]:
    return [header.path for header in (*series.slices, *series.localizers, *series.damaged)]


def _name_all(found: Sequence[Series]) -> str:
    return name_some([f"{series.path.name}: {describe(series)}" for series in found])


def describe(series: Series) -> str:
    """A series in a few words: how many slices, and how it is called."""
    called = series.slices[0].description if series.slices else ""
    slices = f"{len(series.slices)} slice{'s' * (len(series.slices) != 1)}"
    return f"{slices}, {called!r}" if called else slices


def _damaged(folder: Path, files: Sequence[Header]) -> ScanError:
    found = "; ".join(
        f"{names} ({why})"
        for why, names in _by_reason({header.path: header.why for header in files}).items()
    )
    return ScanError(
        f"{folder} holds {len(files)} damaged DICOM file{'s' * (len(files) != 1)}: {found}",
        f"{COPY[:-1]}, or remove what is not of it.",
    )


def _by_reason(files: Mapping[Path, str]) -> dict[str, str]:
    """The names of files by what is said of them; the first few of many."""
    names: dict[str, list[str]] = {}
    for path, why in sorted(files.items()):
        names.setdefault(why, []).append(path.name)
    return {why: name_some(some) for why, some in names.items()}


def name_some(names: Sequence[str]) -> str:
    """Names with commas between; of many the first few, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def passed_over(folder: Path) -> tuple[str, ...]:
    """What is passed over beside the volume in a folder, a line for each reason.

    Raises:
        ScanError: as `read_contents`.
    """
    contents = read_contents(folder)
    passed = dict(contents.others)
    for series in contents.series:
        passed |= {scout.path: "a localizer" for scout in series.localizers}
        if series.no_volume and contents.volumes:
            passed |= {header.path: series.no_volume for header in series.slices}
    return tuple(
        f"{folder}: not of its series and passed over: {names} ({why})"
        for why, names in _by_reason(passed).items()
    )
