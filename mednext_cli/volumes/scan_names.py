"""Which names are scans: the one place that says what is read, what is not, and what is neither."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

NIFTI_ENDINGS = (
    ".nii.gz",
    ".nii",
    ".hdr",
    ".hdr.gz",
    ".mgz",
    ".mgh",
    ".mgh.gz",
)  # nibabel reads these
ITK_ENDINGS = (".nrrd", ".mha", ".mhd", ".nhdr")
SCAN_ENDINGS = (*NIFTI_ENDINGS[:2], *ITK_ENDINGS, *NIFTI_ENDINGS[2:])
_HEADER_OF = {  # files of voxels, and the headers that name them
    ".img": (".hdr", ".hdr.gz"),
    ".img.gz": (".hdr", ".hdr.gz"),
    ".raw": (".mhd", ".nhdr"),
    ".zraw": (".mhd",),
    ".raw.gz": (".nhdr",),
}
_UNREAD = (  # scans to any radiologist, in formats that are not read here
    ".nii.bz2", ".nii.xz", ".nii.zst", ".img.gz", ".gipl", ".gipl.gz",
    ".mnc", ".par", ".mif", ".mif.gz", ".vtk", ".vti", ".img", ".raw", ".zraw", ".raw.gz",
)  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        scans: files that are scans by their name; sorted.
        unread: files that look like scans, and why they are none that can be read; by path.
        others: everything else: sub-folders, DICOM files, texts; sorted.
    """

    scans: tuple[Path, ...] = ()
    unread: dict[Path, str] = field(default_factory=dict)
    others: tuple[Path, ...] = ()


def ending_of(name: str) -> str:
    """The ending that makes a name a scan's, as it is written there (``.NII.GZ``); else ""."""
    return _ending(name, SCAN_ENDINGS)


def is_scan_name(name: str) -> bool:
    """Whether a file of this name is read as a scan or label map, in upper or lower case."""
    return bool(ending_of(name))


def stem_of(name: str) -> str:
    """A file name without its scan ending: ``a.b.NII.GZ`` gives ``a.b``."""
    return name.removesuffix(ending_of(name))


def list_scans(paths: Iterable[Path]) -> Listing:
    """Sort out the entries of a folder by their names; the content is not looked at.

    The files that hold the voxels of a header beside them (``a.img`` of ``a.hdr``) are part of that
    scan, and in no list.
    """
    scans, unread, others = [], {}, []
    known = sorted(paths)
    names = {path.name.lower() for path in known}
    for path in known:
        if path.is_dir():
            others.append(path)
        elif is_scan_name(path.name):
            scans.append(path)
        elif not (ending := _ending(path.name, _UNREAD)):
            others.append(path)
        elif not _has_header(path.name, ending, names):
            unread[path] = _why_unread(ending)
    return Listing(tuple(scans), unread, tuple(others))


def _ending(name: str, endings: Iterable[str]) -> str:
    lower = name.lower()
    found = max((end for end in endings if lower.endswith(end)), key=len, default="")
    return name[len(name) - len(found) :] if found else ""


def _has_header(name: str, ending: str, names: set[str]) -> bool:
    stem = name.removesuffix(ending).lower()
    return any(stem + header in names for header in _HEADER_OF.get(ending.lower(), ()))


def _why_unread(ending: str) -> str:
    headers = [
        header for header in _HEADER_OF.get(ending.lower(), ()) if not header.endswith(".gz")
    ]
    if headers:
        return f"the voxels of a scan without its header ({' or '.join(headers)})"
    return f"{ending} is not read: convert it to .nii.gz"
