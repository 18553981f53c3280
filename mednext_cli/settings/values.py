"""Kinds of values with their bounds, shared by all that travels."""

from math import isfinite
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mednext_cli.foundation.names import check_file_name, check_name


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("is infinite or not a number")
    return value


MOST_CHANNELS = 1024
Name = Annotated[str, AfterValidator(check_name)]
FileName = Annotated[str, AfterValidator(check_file_name)]
Number = Annotated[float, Field(strict=True), AfterValidator(_finite)]
NotNegative = Annotated[Number, Field(ge=0.0)]
Count = Annotated[int, Field(strict=True, ge=0)]
Flag = Annotated[bool, Field(strict=True)]


class Frozen(BaseModel):
    """Never changed, and with no entry that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")
