"""What the user may say beside a layout's name, for the layouts that take it."""

from dataclasses import dataclass, fields
from typing import Literal

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import listed_names
from mednext_cli.settings.labels import LabelSet

Modality = Literal["ct", "mr", "all"]


@dataclass(frozen=True)
class LayoutOptions:
    """Options of layouts; None where the user said nothing and the layout decides.

    A layout names those it takes in its attribute ``options`` and has a keyword of the same name
    in ``read``.

    Attributes:
        modality: which scans to take, or what they are.
        structures: names of the structures to take, in the order of their label values.
        region_training: whether networks are to predict regions rather than labels.
        labels: what the values of label maps are called.
    """

    modality: Modality | None = None
    structures: tuple[str, ...] | None = None
    region_training: bool | None = None
    labels: LabelSet | None = None

    def given(self) -> dict[str, object]:
        """The options that were set, by name."""
        values = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


def read_structures(text: str) -> tuple[str, ...]:
    """Names as ``--structures`` gives them: with commas between, or a file with one a line.

    Raises:
        SettingsError: there are none, one is there twice, or the file is no text.
    """
    names = listed_names(text)
    if not names or len(set(names)) < len(names):
        what = "names one twice" if names else "names none"
        raise SettingsError(f"--structures {text!r} {what}", "Give names with commas between.")
    return names
