"""``predict.json``: what a folder of label maps was made with, as it is on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked_dataclass

from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.inference.identity import Identity, status_key
from mednext_cli.preprocessing.stamps import content_key
from mednext_cli.volumes.scans import LABEL_SUFFIX

RECORD_NAME = "predict.json"
_VERSION = 2
Settings = dict[str, Any]


@checked_dataclass(frozen=True)
class Entry:
    """What is known of a label map.

    Attributes:
        places, status, content: the scan it was made from, as in `Identity`.
        made_with: hash of the settings; None where it is being replaced or nobody knows.
        seconds: the networks took.
        uid_seeds: of the DICOM objects beside it, by kind.
    """

    places: tuple[str, ...] = ()
    status: str | None = None
    content: str | None = None
    made_with: str | None = None
    seconds: float = 0.0
    uid_seeds: dict[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> Identity | None:
        """Of the scan; None where nobody knows it."""
        return Identity(self.places, self.status, self.content) if self.places else None


@dataclass
class RecordContent:
    """All of ``predict.json``.

    Attributes:
        settings: what decides the label maps; None where the file is damaged.
        provenance: what else is worth knowing later.
        cases: the label maps, by case id.
        again: cases whose label map ``--force`` has still to make anew.
        exists: whether there is such a file.
    """

    settings: Settings | None = field(default_factory=dict)
    provenance: Settings = field(default_factory=dict)
    cases: dict[str, Entry] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    exists: bool = True


def settings_key(settings: Settings) -> str:
    """Hash that tells label maps of different settings apart."""
    return content_key(settings)[:16]


def read_record(folder: Path) -> RecordContent:
    """What a folder's record says; of a damaged one, that label maps are there.

    Raises:
        SettingsError: a newer mednext wrote it.
    """
    path = folder / RECORD_NAME
    if not path.exists():
        return RecordContent(exists=False)
    try:
        content = read_json(path)
        version = int(content.get("version", 1))
        if version <= _VERSION:
            return _parse(content, version)
    except (DatasetError, ValidationError, AttributeError, LookupError, TypeError, ValueError):
        names = (file.name for file in folder.glob(f"[!.]*{LABEL_SUFFIX}"))
        cases = {name.removesuffix(LABEL_SUFFIX): Entry() for name in names}
        return RecordContent(settings=None, cases=cases)
    raise SettingsError(
        f"{path} was written by a newer mednext (version {version}, this one knows {_VERSION})",
        "Update mednext, or choose another --out.",
    )


def _parse(content: Mapping[str, Any], version: int) -> RecordContent:
    settings = dict(content["settings"])
    cases = _first_version(content) if version < _VERSION else content["cases"]
    entries = _ENTRIES.validate_python(cases)
    again = set(map(str, content.get("again", ())))
    return RecordContent(settings, dict(content["provenance"]), entries, again)


_ENTRIES = TypeAdapter(dict[str, Entry], config=ConfigDict(extra="ignore"))


def _first_version(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Which knew paths, sizes and times of scans, not what they hold."""
    key = settings_key(dict(content["settings"]))
    return {
        name: {
            "places": [path for path, _, _ in known["scans"]],
            "status": status_key(
                [list(scan) for scan in dict.fromkeys(map(tuple, known["scans"]))]
            ),
            "made_with": key,
            "seconds": known["seconds"],
        }
        for name, known in content["cases"].items()
    }


def write_record(folder: Path, content: RecordContent) -> None:
    """Write the record in one step.

    Raises:
        StorageError: the disk refuses.
    """
    cases = _ENTRIES.dump_python(dict(sorted(content.cases.items())), mode="json")
    write_json(
        folder / RECORD_NAME,
        {
            "version": _VERSION,
            "settings": content.settings,
            "provenance": content.provenance,
            "cases": cases,
            "again": sorted(content.again),
        },
    )


class LatestRecord:
    """The record of a folder that several processes change, parsed again only where it has changed.

    To be used under the folder's lock.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bytes: bytes | None = None
        self._content = RecordContent(exists=False)

    def read(self) -> RecordContent:
        """As `read_record`."""
        found = self._found()
        if found is None or found != self._bytes:
            self.forget()
            self._content = read_record(self._folder)
            self._bytes = found
        return self._content

    def write(self, content: RecordContent) -> None:
        """As `write_record`."""
        self.forget()
        write_record(self._folder, content)
        if content.settings is not None:  # as of a damaged one, which is read as such again
            content.exists = True
            self._content, self._bytes = content, self._found()

    def forget(self) -> None:
        """What was read may have been changed here, and not written."""
        self._bytes = None

    def _found(self) -> bytes | None:
        try:
            return (self._folder / RECORD_NAME).read_bytes()
        except OSError:
            return None
