"""What predictions were made with: done cases are kept, others are never mixed with them."""

import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from mednext_cli import __version__
from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.volumes.dicom import files_of

Settings = dict[str, Any]


class PredictionRecord:
    """``predict.json``: settings, provenance, and for each case its scans and seconds.

    Args:
        folder: of the label maps.
        settings: what decides the label maps; plain JSON.
        provenance: what else is worth knowing later (paths of the models, engine, device).
        cases: what is known of the cases that are done, by id.
    """

    def __init__(
        self, folder: Path, settings: Settings, provenance: Settings, cases: dict[str, Any]
    ) -> None:
        self._folder, self._settings, self._provenance = folder, settings, provenance
        self._cases = cases
        self._stale: tuple[str, ...] = ()
        self._lock = Lock()

    @classmethod
    def open(
        cls, folder: Path, settings: Settings, provenance: Settings, force: bool
    ) -> "PredictionRecord":
        """The record of a folder, without cases where there is none, or with `force` those of
        other settings. Nothing is written.

        Raises:
            SettingsError: the folder was made with other settings.
        """
        known, cases = _read(folder / "predict.json")
        differing = sorted(key for key in settings if known.get(key) != settings[key])
        if differing and cases and not force:
            raise SettingsError(
                f"{folder} holds predictions made with other {' and '.join(differing)}",
                "Choose another --out, or add --force to make them anew.",
            )
        record = cls(folder, settings, provenance, {} if differing else cases)
        record._stale = tuple(cases) if differing else ()
        return record

    def check_free(self, cases: Iterable[Case], force: bool) -> None:
        """Raise `SettingsError` where a label map would replace a file that is not ours.

        Those are the scans themselves, always; and without `force` any label map in a folder that
        `mednext predict` did not write, like annotations.
        """
        foreign = not force and not (self._folder / "predict.json").is_file()
        for case in cases:
            path = self.label_map(case)
            if any(_same(path, channel.path) for channel in case.channels):
                raise SettingsError(
                    f"{path} is the scan: its label map would replace it", "Choose another --out."
                )
            if foreign and path.exists():
                raise SettingsError(
                    f"{path} is there, and not made by mednext predict",
                    "Choose another --out, or add --force to replace it.",
                )

    def begin(self) -> None:
        """Write the record: from here on the folder is ours, and holds these settings only."""
        for case_id in self._stale:
            inside = Path(case_id).name  # whoever wrote the record, nothing outside is removed
            for name in (f"{inside}.nii.gz", f"{inside}_probabilities.npz"):
                (self._folder / name).unlink(missing_ok=True)
        self._save()

    def label_map(self, case: Case) -> Path:
        """Where the case's label map belongs."""
        return self._folder / f"{case.id}.nii.gz"

    def probabilities(self, case: Case) -> Path:
        """Where the case's probabilities belong."""
        return self._folder / f"{case.id}_probabilities.npz"

    def is_done(self, case: Case, probabilities: bool) -> bool:
        """Whether the case's label map is there and its scans are as they were."""
        known = self._cases.get(case.id)
        files = [self.label_map(case)] + [self.probabilities(case)] * probabilities
        there = all(path.is_file() for path in files)
        return known is not None and there and known.get("scans") == _scans(case)

    def note(self, case: Case, seconds: float) -> None:
        """A case is done; the record is written at once.

        Args:
            case: the case.
            seconds: the network took for it.
        """
        with self._lock:
            self._cases[case.id] = {"scans": _scans(case), "seconds": round(seconds, 3)}
            self._save()

    def _save(self) -> None:
        content = {
            "settings": self._settings,
            "provenance": self._provenance | {"versions": _versions()},
            "cases": self._cases,
        }
        write_json(self._folder / "predict.json", content)


def _read(path: Path) -> tuple[Settings, dict[str, dict[str, Any]]]:
    """Settings and cases of a record; nothing where there is none, or a damaged one."""
    try:
        content = read_json(path)
        known, cases = content["settings"], content["cases"]
        return dict(known), {str(name): dict(value) for name, value in cases.items()}
    except (DatasetError, KeyError, TypeError, ValueError, AttributeError):
        return {}, {}


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _scans(case: Case) -> list[list[Any]]:
    found = []
    for channel in case.channels:
        try:
            files = files_of(channel.path) if channel.path.is_dir() else [channel.path]
            for path in files:
                status = path.stat()
                found.append([str(path.absolute()), status.st_size, status.st_mtime_ns])
        except OSError:
            return []  # reported when the case is read
    return found


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "numpy", "nibabel")}
    return {"mednext": __version__, "python": platform.python_version(), **packages}
