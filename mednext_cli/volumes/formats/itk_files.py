"""The text headers of NRRD and MetaImage files, looked at before ITK opens anything they name.

A header may name any file as the one that holds its voxels, and ITK reads it. Here it must lie in
the header's own folder, or below; several files, patterns and standard input are refused.
"""

import codecs
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.checks import is_file
from mednext_cli.volumes.scan_names import ITK_ENDINGS, ending_of

META_ENDINGS = (".mha", ".mhd")
_MOST = 2**20  # bytes of a header
_META_LINES = re.compile(rb"\r?\n")
_NRRD_LINES = re.compile(rb"\r\n|\n|\r")
_META_KEY = "elementdatafile"
_AXES = [str(number) for number in range(1, 11)]
_META_TYPES = {
    f"MET_{name}{kind}"
    for kind in ("", "_ARRAY")
    for name in (
        *("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG"),
        *("LONG_LONG", "ULONG_LONG", "FLOAT", "DOUBLE"),
    )
}
_NRRD_KEY = re.compile(r"\s*data ?file\s*:=?", re.IGNORECASE)
_PACKED = 1032  # deflate packs no more bytes into one
_TEXT = 8  # "0 " may stand for a double


@dataclass(frozen=True)
class ItkHeader:
    """What is known before ITK reads the file.

    Attributes:
        voxels: the file that holds them: the header's own, or one in its folder.
        growth: bytes that a byte of it can stand for, at most.
    """

    voxels: Path
    growth: int


def read_header(path: Path) -> ItkHeader:
    """Find the voxels of an NRRD or MetaImage file.

    Raises:
        ScanError: missing, no such file, or its voxels lie where nothing is read from.
    """
    if not is_file(path):
        raise ScanError(f"{path} does not exist", "Check the path, or download the file again.")
    try:
        with path.open("rb") as stream:
            start = stream.read(_MOST)
    except OSError as error:
        raise ScanError(f"{path} cannot be read: {error.strerror}", "Check the file.") from error
    if is_meta(path):
        return _meta(path, start)
    return _nrrd(path, start)


def is_meta(path: Path) -> bool:
    """Whether the ending says MetaImage, not NRRD."""
    return ending_of(path.name).lower() in META_ENDINGS


def damaged(path: Path) -> ScanError:
    """The one line for what ITK cannot read."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        if stream.read(3).startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return ScanError(
                f"{path} begins with a byte order mark, which its format does not have",
                "Save the header as plain ASCII or UTF-8 without the mark.",
            )
    kind = " or ".join(ITK_ENDINGS)
    return ScanError(f"{path} is damaged, cut off or no {kind} file", "Copy it again.")


def _meta(path: Path, start: bytes) -> ItkHeader:
    """``ElementDataFile`` ends the header. Named twice, who knows which one ITK takes."""
    fields: dict[str, str] = {}
    text, length = "", 0
    for line in _lines(start, _META_LINES):
        text += line.lower()
        length += len(line) + 1
        key, value = _field(line)
        fields[key] = value
        if key == _META_KEY and text.count(_META_KEY) == 1 and "\r" not in line:
            voxels = path if value.lower() == "local" else _inside(path, value)
            _check_meta(path, fields, voxels, length)
            packed = fields.get("compresseddata", "")[:1].lower() in ("t", "1", "y")
            text_of_numbers = fields.get("binarydata", "")[:1].lower() in ("f", "0", "n")
            return ItkHeader(voxels, _PACKED if packed else _TEXT if text_of_numbers else 1)
        if key == _META_KEY:
            break
    raise damaged(path)


def _check_meta(path: Path, fields: dict[str, str], voxels: Path, length: int) -> None:
    """Refuse what ITK would grumble about in lines of its own."""
    axes = fields.get("ndims", "")
    room = voxels.stat().st_size - (length if voxels == path else 0)
    packed = fields.get("compresseddatasize", "0")
    if not (
        axes in _AXES
        and len(fields.get("dimsize", "").split()) == int(axes)
        and fields.get("elementtype") in _META_TYPES
        and re.fullmatch("[0-9]{1,18}", packed)
        and int(packed) <= room + 1  # the end of the last line may be \r\n
    ):
        raise damaged(path)


def _field(line: str) -> tuple[str, str]:
    """Key (in lower case) and value, with a colon or an equals sign between."""
    key, *value = re.split("[=:]", line, maxsplit=1)
    return key.strip().lower(), "".join(value).strip()


def _nrrd(path: Path, start: bytes) -> ItkHeader:
    """``data file`` stands somewhere before the first empty line."""
    if not start.startswith(b"NRRD"):
        raise damaged(path)
    growth, named = 1, []
    for line in _lines(start, _NRRD_LINES):
        if not line:
            break
        if found := _NRRD_KEY.match(line):
            named.append(line[found.end() :].strip())
        elif line.lower().startswith("encoding:"):
            growth = _growth(line.partition(":")[2].strip().lower())
    else:
        if len(start) == _MOST:
            raise damaged(path)
    if len(named) > 1:
        raise damaged(path)
    return ItkHeader(_inside(path, named[0]) if named else path, growth)


def _growth(encoding: str) -> int:
    if encoding == "raw":
        return 1
    return _TEXT if encoding in ("ascii", "text", "txt", "hex") else _PACKED


def _lines(start: bytes, ends: re.Pattern[bytes]) -> Iterator[str]:
    """Lines as the format's own reader takes them."""
    for line in ends.split(start):
        yield line.decode("utf-8", "surrogateescape")


def _inside(path: Path, name: str) -> Path:
    """The file that a header names, if it lies in the header's folder.

    A link there may lead out of it only to where the header itself is linked from.
    """
    if not name or "\0" in name or name == "-":
        raise damaged(path)
    if name.upper().startswith("LIST") or "%" in name:
        raise ScanError(f"{path} keeps its voxels in several files", "Save it as one file.")
    named = path.parent / name
    try:
        target, real = named.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:
        raise damaged(path) from error
    if not (target.is_relative_to(path.parent.resolve()) or target.parent == real.parent):
        raise ScanError(
            f"{path} names a file outside of its folder as its voxels: {name}",
            "Put both files into one folder, and correct the name in the header.",
        )
    if not is_file(named):
        raise ScanError(f"{named}, the voxels of {path.name}, does not exist", "Copy it, too.")
    return named
