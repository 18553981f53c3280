"""What the tables of a recipe are made of: kinds of values, and which may change in a run."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mednext_cli.foundation.names import check_name

_LARGEST = 100.0  # of an augmentation's range


def _check_range(limits: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= limits[0] <= limits[1] <= _LARGEST or limits[1] == 0:
        raise ValueError(
            f"a range is [low, high] with 0 <= low <= high, high above 0 and at most {_LARGEST:g}"
        )
    return limits


def refuse_truth(value: object) -> object:
    """True is no 1: pydantic would take it so."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true or false")
    return value


# Upper bounds are where a number can only be a slip, and work would never end or never begin.
NoTruth = BeforeValidator(refuse_truth)
Number = Annotated[float, NoTruth]
Probability = Annotated[Number, Field(ge=0.0, le=1.0)]
Positive = Annotated[Number, Field(gt=0.0)]
NotNegative = Annotated[Number, Field(ge=0.0)]
Count = Annotated[int, NoTruth, Field(ge=1, le=10**6)]
CountOrZero = Annotated[int, NoTruth, Field(ge=0, le=10**6)]
Width = Annotated[int, NoTruth, Field(ge=1, le=4096)]
Choice = Literal[True, False, "auto"]
Operators = Literal["auto", "fused", "stock"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
PredictionPrecision = Literal[Precision, "int8"]
AugmentationDevice = Literal["worker", "network"]
OptimiserName = Literal["adamw", "sgd"]
RegisteredName = Annotated[str, AfterValidator(check_name)]
"""Of an entry point: a network, a loss, a callback."""
PathText = Annotated[str, Field(min_length=1, max_length=4096)]
Table = dict[str, Any]
Range = Annotated[tuple[Number, Number], AfterValidator(_check_range)]


@dataclass(frozen=True)
class MayChange:
    """Marks a key that a run which has begun may be given otherwise; without it, none may.

    Attributes:
        why: no result already there depends on it, or it is looked at by itself.
    """

    why: str


IN_THE_PLAN = MayChange("the plan of the run holds it, which is compared")
NO_RESULT = MayChange("no result depends on it")
AFTER_TRAINING = MayChange("the final validation is then made anew")
WHAT_IT_HOLDS = MayChange("what it holds is compared, wherever it lies by now")
SAME_PARAMETERS = MayChange("the parameters are the same, only noise and rounding are others")
HOW_IT_RUNS = MayChange("it is about how the network runs, not what it is")


class Section(BaseModel):
    """A table of a recipe: never changed, and with no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
