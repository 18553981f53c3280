"""The table `[fine_tuning]` of a recipe."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from mednext_cli.settings.sections import Positive, Section

PartName = Annotated[str, Field(min_length=1, max_length=256)]


class FineTuningSettings(Section):
    """How a run moves the weights that it begins with; of runs that draw theirs it is refused.

    A part is named by how its weights' names begin, like `stem` or `encoder.0`; of several names
    that fit, the longest counts.

    Attributes:
        freeze: parts whose weights stay as they are; statistics of batch norms move on (ours).
        rates: factors of the learning rate by part; 1 where nothing is said (ours).
    """

    freeze: tuple[PartName, ...] = ()
    rates: dict[PartName, Annotated[Positive, Field(le=1000.0)]] | None = None

    @model_validator(mode="after")
    def _refuse_both(self) -> Self:
        if both := sorted(set(self.freeze) & set(self.rates or {})):
            raise ValueError(f"{both[0]} is frozen and has a rate")
        return self

    @property
    def factors(self) -> dict[str, float]:
        """By part; 0 where it is frozen."""
        return {**dict.fromkeys(self.freeze, 0.0), **(self.rates or {})}
