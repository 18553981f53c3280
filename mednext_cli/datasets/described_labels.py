"""What label values mean where there are no scans: a dataset.json alone, or an option."""

from pathlib import Path

from mednext_cli.datasets.label_table import labels_of, scored_labels
from mednext_cli.datasets.msd import TOLERANCE_MM
from mednext_cli.datasets.raw_folder import folder_name, read_description, require
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.settings.labels import LabelSet

_FORM = "Write --labels liver=1,tumour=2; a region of several values is liver_and_tumour=1+2."


def read_described_labels(raw: Path) -> LabelSet:
    """Labels and regions as the dataset.json of a folder names them, whatever else it lists.

    Number to name is the spelling of MSD and nnU-Net v1, name to number (or numbers) that of
    nnU-Net v2.

    Raises:
        DatasetError: there is no dataset.json, or its labels cannot be read.
    """
    where = raw / "dataset.json"
    description = read_description(raw)
    table = require(description, "labels", dict, where)
    order = description.get("regions_class_order")
    return labels_of(table, order, where, TOLERANCE_MM.get(folder_name(raw)))


def read_listed_labels(text: str) -> LabelSet:
    """Labels and regions as ``--labels`` lists them: ``liver=1,tumour=2``.

    ``whole=1+2`` is a region of two label values, ``ignore=3`` the value of voxels that nobody
    annotated; ``background=0`` may be said. Every entry is scored; networks predict the labels.

    Raises:
        SettingsError: not of that form, a name or value twice, or not one label.
    """
    table: dict[str, list[int]] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, numbers = entry.rpartition("=")
        values = [number.strip() for number in numbers.split("+")]
        if not (equals and name.strip() and all(_is_value(number) for number in values)):
            raise SettingsError(f"--labels: {entry!r} is not NAME=VALUE", _FORM)
        if name.strip() in table:
            raise SettingsError(f"--labels names {name.strip()} twice", "Drop one.")
        table[name.strip()] = [int(number) for number in values]
    try:
        return scored_labels(table, "--labels")
    except DatasetError as error:
        raise SettingsError(error.message, _FORM) from error


def _is_value(number: str) -> bool:
    """Whether a text is a label value; labels are stored in 16 bits at most."""
    return number.isascii() and number.isdecimal() and len(number) <= 5 and int(number) < 2**16
