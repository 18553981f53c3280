"""What a DICOM segmentation and an RT structure set of the same label map have in common."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.volumes.formats.dicom_source import Source

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LONGEST_TEXT = 64  # characters of a name (LO)
MAKER = "mednext"
_NAMESPACE = uuid.UUID("2f3d8f0c-6c0a-5a4e-9b62-6d65646e6578")
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Structure:
    """A structure of a label map.

    Attributes:
        name: of the label.
        value: in the label map.
        colour: red, green, blue, 0 to 255.
    """

    name: str
    value: int
    colour: Colour


@dataclass(frozen=True)
class Origin:
    """By what a label map was made.

    Attributes:
        name: of the task, as in "mednext kits19".
        version: of mednext.
        models: hashes of the networks' files.
        uid_seed: text that new UIDs depend on, beside what the object holds.
    """

    name: str
    version: str
    models: tuple[str, ...]
    uid_seed: str = ""

    @property
    def title(self) -> str:
        """A line that names it."""
        return text(f"{MAKER} {self.name}")

    @property
    def parameters(self) -> dict[str, str]:
        """The networks, for people who search for them."""
        return {"models": " ".join(model[:16] for model in self.models)}


@dataclass(frozen=True, eq=False)
class Subject:
    """A label map and what is known of it.

    Attributes:
        source: the series that it lies on.
        numbers: (slices, rows, columns), 1 for the first of `structures`, 2 for the second, ...;
            in the smallest type that holds them.
        structures: what it may hold.
        origin: by what it was made.
    """

    source: Source
    numbers: NDArray[np.unsignedinteger]
    structures: tuple[Structure, ...]
    origin: Origin

    def uid(self, *purpose: str) -> str:
        """A UID that depends on all that is written, so that none is ever of two contents.

        UUIDs are UIDs below 2.25 (PS3.5 B.2).
        """
        return f"2.25.{uuid.uuid5(_NAMESPACE, repr((self._content, purpose))).int}"

    @cached_property
    def _content(self) -> str:
        """Hash of everything; archives correct patients and keep the UIDs of their scans."""
        source = self.source
        digest = hashlib.sha256(np.ascontiguousarray(self.numbers).data)
        common = [(str(one.tag), str(one.value)) for one in source.common]
        placed = (source.orientation, source.pixel_spacing, source.thickness, source.size)
        of_series = (source.series, source.series_number, source.modality, source.date, source.time)
        said = (self.origin, self.structures, source.slices, placed, of_series, common)
        digest.update(repr(said).encode(errors="surrogatepass"))
        return digest.hexdigest()

    def series_number(self, which: int) -> int:
        """A number behind that of the source; series are told by UIDs, this is for people."""
        return 100 * (self.source.series_number or 0) + which


def number_frames(
    labels: NDArray[Any], structures: tuple[Structure, ...]
) -> NDArray[np.unsignedinteger]:
    """The frames of a label map, see `Subject`.

    Args:
        labels: (columns, rows, slices), as a series is read.
        structures: those that are written.
    """
    values = [int(labels.max(initial=0)), *(one.value for one in structures)]
    table = np.zeros(max(values) + 1, np.min_scalar_type(len(structures)))
    for number, one in enumerate(structures, start=1):
        table[one.value] = number
    return np.ascontiguousarray(table[labels.T])


def text(value: str) -> str:
    r"""As a short line of DICOM holds it: no backslash, which parts values, and no line breaks."""
    printable = "".join(sign if sign.isprintable() else " " for sign in value)
    return " ".join(printable.replace("\\", "/").split())[:LONGEST_TEXT].strip()


def texts(structures: tuple[Structure, ...]) -> list[str]:
    """Names of structures, no two of them alike after they were cut off."""
    cut = [text(one.name) for one in structures]
    return [
        name if cut.count(name) == 1 else f"{name[: LONGEST_TEXT - 6]} {one.value}"
        for name, one in zip(cut, structures, strict=True)
    ]


def copy_common(source: Source, target: "Dataset") -> None:
    """Patient, study and frame of reference as in the source; no date but the scan's.

    What tells when the object was written goes: two runs write the same bytes.
    """
    for element in source.common:
        target[element.tag] = element
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in target:
            del target[keyword]
    target.SeriesDate, target.SeriesTime = source.date, source.time


def sequence(**elements: Any) -> list["Dataset"]:  # noqa: ANN401 - any value of DICOM
    """A sequence of one item."""
    return [item(elements)]


def item(elements: Mapping[str, Any]) -> "Dataset":
    """An item of a sequence."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
