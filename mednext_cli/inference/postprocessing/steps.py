"""What post-processing does, as it is stored with a model: ``postprocessing.json``."""

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.settings.labels import MOST_LABELS, LabelSet, LabelValue
from mednext_cli.settings.values import Count, Frozen, Name, NotNegative

FILE_NAME = "postprocessing.json"
_MOST_STEPS = 4 * MOST_LABELS
Operation = Literal["largest_component", "minimum_volume", "fill_holes"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)


class Step(Frozen):
    """One operation on one structure.

    Attributes:
        structure: a label, a region of several, or foreground: all labels together.
        values: label values of the structure.
        operation: "largest_component": all of its 26-connected parts but the largest become
            background; "minimum_volume": the parts that are smaller; "fill_holes": background that
            it encloses becomes its first value.
        minimum_ml: the volume that a part must have to stay.
    """

    structure: Name
    values: Annotated[tuple[LabelValue, ...], Field(min_length=1, max_length=MOST_LABELS)]
    operation: Operation
    minimum_ml: NotNegative = 0.0

    @property
    def text(self) -> str:
        """For people: ``largest_component``, ``minimum_volume 0.3 ml``."""
        volume = f" {self.minimum_ml:g} ml" if self.operation == "minimum_volume" else ""
        return f"{self.operation}{volume}"


class Postprocessing(Frozen):
    """What is done to every label map, in this order.

    Attributes:
        labels: label value by name, of the networks that it was fitted for.
        steps: what is done.
        cases: on how many it was fitted.
    """

    version: Literal[1] = 1
    labels: dict[Name, LabelValue]
    steps: Annotated[tuple[Step, ...], Field(max_length=_MOST_STEPS)]
    cases: Count = 0

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        known = set(self.labels.values())
        for step in self.steps:
            if not set(step.values) <= known:
                raise ValueError(f"{step.structure}: {step.values} are not values of its labels")
        return self

    def check(self, labels: LabelSet, path: Path) -> None:
        """Raise `SettingsError` unless it was fitted for these labels; `path` is its own."""
        if dict(self.labels) != dict(labels.names):
            raise SettingsError(
                f"{path} was fitted for other labels ({', '.join(self.labels)})",
                "Fit it anew, or predict with --no-postprocess.",
            )


def save_postprocessing(path: Path, made: Postprocessing) -> None:
    """Write it as JSON; raises `StorageError` where the disk refuses."""
    write_json(path, made.model_dump(mode="json"))


def load_postprocessing(path: Path) -> Postprocessing:
    """Read what `save_postprocessing` wrote.

    Raises:
        SettingsError: the file is missing, damaged or of another version.
    """
    remedy = "Fit it anew: mednext postprocess fit."
    try:
        return Postprocessing.model_validate(read_json(path))
    except DatasetError as error:
        raise SettingsError(error.message, remedy) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(
            f"{path} holds no post-processing: {where or 'it'}: {first['msg']}", remedy
        ) from error
