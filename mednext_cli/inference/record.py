"""What a folder of predictions was made with, so that done cases are kept and others never mixed."""

import platform
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from mednext_cli import __version__
from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import make_folder, read_json, write_json


class PredictionRecord:
    """``predict.json``: settings, versions, and for each case its scans and seconds."""

    def __init__(self, folder: Path, settings: dict[str, Any], cases: dict[str, Any]) -> None:
        self._folder, self._settings, self._cases = folder, settings, cases
        self._lock = Lock()

    @classmethod
    def open(cls, folder: Path, settings: dict[str, Any], force: bool) -> "PredictionRecord":
        """The record of a folder, empty where there is none or with `force`.

        Raises:
            SettingsError: the folder was made with other settings.
        """
        make_folder(folder)
        path = folder / "predict.json"
        if force or not path.is_file():
            return cls(folder, settings, {})
        try:
            content = read_json(path)
            known, cases = content["settings"], content["cases"]
        except (DatasetError, KeyError, TypeError):
            return cls(folder, settings, {})
        differing = sorted(key for key in settings if known.get(key) != settings[key])
        if differing and cases:
            raise SettingsError(
                f"{folder} holds predictions made with other {' and '.join(differing)}",
                "Choose another --out, or add --force to make them anew.",
            )
        return cls(folder, settings, dict(cases))

    def is_done(self, case: Case, probabilities: bool) -> bool:
        """Whether the case's label map is there and its scans are as they were."""
        known = self._cases.get(case.id)
        files = [f"{case.id}.nii.gz"] + [f"{case.id}_probabilities.npz"] * probabilities
        there = all((self._folder / name).is_file() for name in files)
        return known is not None and there and known["scans"] == _scans(case)

    def note(self, case: Case, seconds: float) -> None:
        """A case is done; the record is written at once."""
        with self._lock:
            self._cases[case.id] = {"scans": _scans(case), "seconds": round(seconds, 3)}
            content = {"settings": self._settings, "versions": _versions(), "cases": self._cases}
            write_json(self._folder / "predict.json", content)


def _scans(case: Case) -> list[list[Any]]:
    found = []
    for channel in case.channels:
        try:
            status = channel.path.stat()
        except OSError:
            return []  # reported when the case is read
        found.append([str(channel.path.absolute()), status.st_size, status.st_mtime_ns])
    return found


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "numpy", "nibabel")}
    return {"mednext": __version__, "python": platform.python_version(), **packages}
