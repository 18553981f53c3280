"""The zip archive that `torch.save` writes, looked through before anything in it is used.

PyTorch's own reader checks no checksum, inflates compressed members and takes the pickle's word for
how long a storage is. Here only what `torch.save` itself writes passes: stored members, each once,
not larger in all than the file, with the checksums they came with.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.foundation.seal import SEAL_BYTES, is_whole

_MOST_STRUCTURE = 2**24  # bytes; 20 times that of a run of 1,000 epochs with the largest network
_CHANGED = "its bytes do not match its checksum"
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Archive:
    """What is in the file.

    Attributes:
        structure: the pickle that says how the content is made of plain types and storages.
        storages: bytes of each storage by its key.
        size: of the file, bytes.
    """

    structure: bytes
    storages: Mapping[str, int]
    size: int


def open_archive(path: Path) -> Archive:
    """Look through the archive and check every byte that matters.

    Raises:
        ValueError: not as `torch.save` writes it, or changed since; says what is wrong.
        OSError: the file cannot be read.
    """
    whole = is_whole(path)
    if whole is False:
        raise ValueError(_CHANGED)
    with zipfile.ZipFile(path) as file:
        size = path.stat().st_size
        members = file.infolist()
        _check_members(members, size)
        if whole is None:
            _check_sums(file, members)
        prefix = members[0].filename.partition("/")[0]
        sizes = {member.filename.removeprefix(f"{prefix}/"): member.file_size for member in members}
        _check_structure(sizes)
        structure = file.read(f"{prefix}/data.pkl")
    storages = {
        name.removeprefix("data/"): length
        for name, length in sizes.items()
        if name.startswith("data/")
    }
    return Archive(structure, storages, size)


def _check_members(members: list[zipfile.ZipInfo], size: int) -> None:
    names = {member.filename.casefold() for member in members}
    if len(names) != len(members):
        raise ValueError("two of its members have the same name")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError("its members are compressed, which torch.save never does")
    if not members or sum(member.file_size for member in members) > size:
        raise ValueError("its members are larger than the file")


def _check_sums(file: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> None:
    """Read all members: zipfile compares their CRC-32 at the end of each."""
    if len(file.comment) == SEAL_BYTES:
        raise ValueError("its checksum is damaged")
    try:
        for member in members:
            with file.open(member) as stream:
                while stream.read(_BLOCK_BYTES):
                    pass
    except zipfile.BadZipFile as error:
        raise ValueError(_CHANGED) from error


def _check_structure(sizes: Mapping[str, int]) -> None:
    if "constants.pkl" in sizes:
        raise ValueError("it is a TorchScript program, which could run any code")
    if not 0 < sizes.get("data.pkl", 0) <= _MOST_STRUCTURE:
        raise ValueError("it has no structure of a reasonable size")
