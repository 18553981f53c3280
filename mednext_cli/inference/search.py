"""Everything that lies in a folder and below it: scans, and what is passed over and why."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mednext_cli.datasets.dataset import Channel
from mednext_cli.datasets.raw_folder import list_names
from mednext_cli.foundation.errors import DatasetError, MednextError
from mednext_cli.inference.annotations import BY_NAME, find_annotations, names_labels
from mednext_cli.inference.archives import Scratch, is_archive
from mednext_cli.inference.grouping import Item, UnreadCase, join_id
from mednext_cli.volumes.formats.dicom import make_one_volume
from mednext_cli.volumes.formats.dicom_series import (
    Contents,
    Series,
    describe,
    holds_dicom,
    name_some,
    read_contents,
)
from mednext_cli.volumes.scan_names import is_scan_name, list_scans, stem_of

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
NO_SCANS = "no scans"


@dataclass
class Place:
    """A folder with scans.

    Attributes:
        parts: where it lies below the folder that was searched; names of folders and archives.
        files: scans, but for label maps.
        series: DICOM series: a name, "" for the only one of its folder, and its path.
        unread: what looks like a scan and cannot be one, and why.
    """

    parts: tuple[str, ...]
    files: list[Path] = field(default_factory=list)
    series: list[tuple[str, Path]] = field(default_factory=list)
    unread: dict[Path, str] = field(default_factory=dict)

    def items(self, root: str) -> list[Item]:
        """The scans, with the names that cases have of them; `root` is that of the whole."""
        above, own = (self.parts[:-1], self.parts[-1]) if self.parts else ((), root)
        files = [Item(self.parts, stem_of(path.name), path) for path in self.files]
        named = [(f"{own}_{name}" if name else own, path) for name, path in self.series]
        return files + [Item(above, name, path) for name, path in named]

    def unread_cases(self, root: str) -> list[UnreadCase]:
        """What cannot be read, as cases that fail."""
        own = self.parts or (root,)
        return [
            UnreadCase(
                join_id(own[:-1], own[-1]) if path.is_dir() else join_id(self.parts, path.name),
                (Channel(path),),
                problem=why,
            )
            for path, why in self.unread.items()
        ]


@dataclass
class Found:
    """What a search found.

    Attributes:
        places: folders with scans, in order.
        passed: what is no case and why, by path.
        notes: what else should be said, a line each.
        parts: where the series are, by their UID.
    """

    places: list[Place] = field(default_factory=list)
    passed: dict[Path, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    parts: dict[str, list[tuple[Place, Series, Path]]] = field(default_factory=dict)


def search(root: Path, scratch: Scratch | None, inside: bool = False) -> Found:
    """Search a folder and all below it, through symbolic links and into archives.

    Args:
        root: the folder.
        scratch: where zip archives are unpacked; None leaves them unread.
        inside: the folder is an archive's, and archives in it are not unpacked.

    Raises:
        DatasetError: the folder itself cannot be listed.
    """
    found = Found()
    list_names(root)
    for folder, parts, within in _walk(root, found, scratch, inside):
        _look_into(folder, parts, found, within)
    _pass_folders_of_labels(found)
    _name_split_series(found)
    found.places = [place for place in found.places if place.files or place.series or place.unread]
    return found


Step = tuple[Path, tuple[str, ...], bool]


def _walk(root: Path, found: Found, scratch: Scratch | None, inside: bool) -> Iterator[Step]:
    """Folders from the top down, each once, with where they lie and whether in an archive."""
    waiting: list[Step] = [(root, (), inside)]
    seen: set[Path] = set()
    while waiting:
        folder, parts, inside = waiting.pop()
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        if parts and (folder / "predict.json").is_file():
            found.passed[folder] = "label maps that mednext predict made"
            continue
        yield folder, parts, inside
        below = [(path, (*parts, path.name), inside) for path in _folders(folder)]
        archives = {} if inside else _unpack_all(folder, parts, found, scratch)
        below += [(path, (*parts, name), True) for name, path in archives.items()]
        waiting += reversed(below)


def _names(folder: Path) -> list[str]:
    try:
        return list_names(folder)
    except DatasetError:
        return []


def _folders(folder: Path) -> list[Path]:
    paths = [folder / name for name in _names(folder)]
    return [path for path in paths if path.is_dir()]


def _unpack_all(
    folder: Path, parts: tuple[str, ...], found: Found, scratch: Scratch | None
) -> dict[str, Path]:
    """The zip archives of a folder, unpacked, by name."""
    unpacked = {}
    for path in (folder / name for name in _names(folder) if is_archive(name)):
        if scratch is None or not path.is_file():
            continue
        try:
            unpacked[path.name[: -len(".zip")]] = scratch.unpack(path)
        except MednextError as error:
            if isinstance(error, OSError):  # the disk refuses, and would the next
                raise
            found.places.append(Place(parts, unread={path: str(error)}))
    return unpacked


def _look_into(folder: Path, parts: tuple[str, ...], found: Found, inside: bool) -> None:
    place = Place(parts)
    found.places.append(place)
    try:
        listing = list_scans(folder / name for name in list_names(folder))
    except DatasetError as error:
        place.unread[folder] = str(error)
        return
    place.unread |= {path: f"{path}: {why}" for path, why in listing.unread.items()}
    others = [path for path in listing.others if not (path.is_dir() or is_archive(path.name))]
    if holds_dicom(folder):
        _take_series(place, folder, others, found)
    else:
        _pass_others(others, place, found)
    if inside:
        archives = [path for path in listing.others if is_archive(path.name)]
        place.unread |= {
            path: f"{path} is an archive in an archive: unpack it" for path in archives
        }
    labels = find_annotations(listing.scans, bool(place.series))
    found.passed |= labels
    place.files = [path for path in listing.scans if path not in labels]


def _pass_others(others: list[Path], place: Place, found: Found) -> None:
    for path in others:
        if path.name.lower().endswith(_ARCHIVES):
            place.unread[path] = f"{path} is an archive that is not read: unpack it"
        else:
            found.passed[path] = NO_SCANS


def _take_series(place: Place, folder: Path, others: list[Path], found: Found) -> None:
    """The volumes of a folder; one alone is the folder's, which then names what is beside it."""
    try:
        contents = read_contents(folder)
    except MednextError as error:
        place.unread[folder] = str(error)
        return
    volumes = contents.volumes
    if len(volumes) == 1 or (contents.damaged and not volumes):
        place.series.append(("", folder))
    else:
        found.passed |= {
            series.path: series.no_volume for series in contents.series if series.no_volume
        }
        found.passed |= {path: contents.others[path] for path in others if path in contents.others}
    if len(volumes) > 1:
        found.notes.append(_tell(contents))
        place.series += zip(
            _series_names(volumes), (series.path for series in volumes), strict=True
        )
    for series in volumes:
        path = folder if len(volumes) == 1 else series.path
        found.parts.setdefault(series.uid, []).append((place, series, path))


def _series_names(volumes: tuple[Series, ...]) -> list[str]:
    """Their numbers, where each has one of its own; else the names of their first files."""
    numbers = [series.slices[0].number if series.slices else "" for series in volumes]
    if all(numbers) and len(set(numbers)) == len(numbers):
        return [f"series{number}" for number in numbers]
    return [series.path.name for series in volumes]


def _tell(contents: Contents) -> str:
    volumes = contents.volumes
    named = "; ".join(
        f"{name}: {describe(series)}"
        for name, series in zip(_series_names(volumes), volumes, strict=True)
    )
    return f"{contents.folder} holds {len(volumes)} DICOM series, each a case of its own: {named}"


def _name_split_series(found: Found) -> None:
    """Slices of one series that lie in several folders make no volume in any of them."""
    for uid, parts in found.parts.items():
        if not uid or len(parts) == 1 or not make_one_volume([series for _, series, _ in parts]):
            continue
        folders = name_some([str(series.path.parent) for _, series, _ in parts])
        for place, _, path in parts:
            place.series = [(name, other) for name, other in place.series if other != path]
            place.unread[path] = (
                f"{path}: the slices of this DICOM series lie in several folders ({folders}): put "
                "them into one"
            )


def _pass_folders_of_labels(found: Found) -> None:
    """Folders that are called labels or hold nothing else, where other folders hold scans."""
    labels = [place for place in found.places if _is_of_labels(place)]
    rest = [place for place in found.places if place not in labels]
    if not any(place.files or place.series for place in rest):
        return
    for place in labels:
        found.passed |= dict.fromkeys([*place.files, *place.unread], BY_NAME)
        place.files, place.unread = [], {}


def _is_of_labels(place: Place) -> bool:
    named = [names_labels(stem_of(path.name)) for path in place.files]
    return any(map(names_labels, place.parts)) or (bool(named) and all(named) and not place.series)


def has_scans(folder: Path) -> bool:
    """Whether scans lie in the folder itself: by their names, as archives, or as DICOM series that
    are files of the folder or folders in it.
    """
    names = list_names(folder)
    paths = [folder / name for name in names]
    return (
        any(is_scan_name(path.name) or is_archive(path.name) for path in paths if path.is_file())
        or holds_dicom(folder)
        or any(path.is_dir() and holds_dicom(path) for path in paths)
    )
