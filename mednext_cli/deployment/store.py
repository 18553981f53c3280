"""clinical.json: what was measured already, so that the same command carries on."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mednext_cli.deployment.measurement import Failure, Measurement
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.settings.reading import ImpossibleValueError, read_value
from mednext_cli.settings.values import Frozen

NAME = "clinical.json"
_REMEDY = "Delete it: everything is measured anew."


class _Kept(Frozen):
    """The file."""

    version: Literal[1] = 1
    measured: dict[str, Annotated[Measurement | Failure, Field(discriminator="kind")]]


class Measurements:
    """The file of a sheet's folder.

    Args:
        folder: of the sheet.

    Raises:
        DatasetError: the file is there and cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._found: dict[str, Measurement | Failure] = {}
        if self._path.exists():
            self._found = dict(_read(self._path))

    def get(self, key: str) -> Measurement | Failure | None:
        """What is known of a configuration."""
        return self._found.get(key)

    def add(self, key: str, found: Measurement | Failure) -> None:
        """Keep what a configuration gave.

        Raises:
            StorageError: the disk refuses.
        """
        self._found[key] = found
        write_json(self._path, _Kept(measured=self._found).model_dump(mode="json"))


def _read(path: Path) -> dict[str, Measurement | Failure]:
    try:
        return read_value(_Kept, read_json(path)).measured
    except ImpossibleValueError as error:
        raise DatasetError(f"{path} is no file of a clinical sheet: {error}", _REMEDY) from error
