"""``dataset.json`` of a cache, validated where it is read."""

from math import prod
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from mednext_cli.cache import schema
from mednext_cli.foundation.errors import CacheError
from mednext_cli.foundation.names import check_file_name, shown

_MOST_VOXELS = 2**36
_AGAIN = "Run mednext preprocess again."
FileName = Annotated[str, AfterValidator(check_file_name)]
Length = Annotated[int, Field(strict=True, ge=1, le=2**20)]


class _Case(BaseModel):
    model_config = ConfigDict(extra="allow")

    shape: tuple[Length, Length, Length, Length]
    labelled: Annotated[bool, Field(strict=True)]

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if prod(self.shape) > _MOST_VOXELS:
            raise ValueError("the shape is of no scan")
        return self


class _Plan(BaseModel):
    """What this room needs of the plan; preprocessing knows the whole."""

    model_config = ConfigDict(extra="allow")

    dataset: FileName


class _Description(BaseModel):
    model_config = ConfigDict(extra="allow")

    plan: _Plan
    cases: dict[FileName, _Case]

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if schema.index_file(Path()).stem in self.cases:
            raise ValueError("a case is named as the index")
        return self


def check_description(path: Path, description: Any) -> None:  # noqa: ANN401 - read from a file
    """Raise `CacheError` unless this is a ``dataset.json`` of this version, and can be."""
    if not isinstance(description, dict) or description.get("format") != schema.FORMAT:
        raise CacheError(f"{path} is not of a mednext cache", "Choose another --cache folder.")
    if description.get("version") != schema.VERSION:
        raise CacheError(
            f"{path} was made by another version of mednext (cache format "
            f"{shown(description.get('version'))}, here {schema.VERSION})",
            "Make it anew with mednext preprocess --force, or choose another --cache.",
        )
    parts = ("plan", "fingerprint", "cases")
    missing = {name for name in parts if not isinstance(description.get(name), dict)}
    if missing:
        raise CacheError(f"{path} lacks {', '.join(sorted(missing))}", _AGAIN)
    try:
        _Description.model_validate(description)
    except ValidationError as error:
        raise CacheError(f"{path}: {_first(error)}", _AGAIN) from error


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(shown(part).strip("'\"") for part in first["loc"])
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
