"""``dataset.json`` of a cache: what it holds, validated where it is read."""

from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mednext_cli.cache import schema
from mednext_cli.foundation.errors import CacheError
from mednext_cli.foundation.files import write_json
from mednext_cli.foundation.names import shown
from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.migrations import cache_from_1
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.reading import (
    VERSION,
    ImpossibleValueError,
    is_known,
    note_older,
    read_value,
)
from mednext_cli.settings.values import Count, FileName, Flag, Frozen

_MOST_VOXELS = 2**36
_AGAIN = "Run mednext preprocess again."
StoredType = Literal["float16", "float32"]
Length = Annotated[int, Field(strict=True, ge=1, le=2**20)]


class CaseEntry(Frozen):
    """A case of the cache.

    Attributes:
        shape: (C, D, H, W) of the prepared image, voxels.
        labelled: whether it has a label map.
        foreground_voxels: of the raw label map.
        content: hashes of the raw files, see `preprocessing.stamps`; None where nobody noted them.
        label_resampled: whether the label map was brought onto the image's grid.
    """

    shape: tuple[Length, Length, Length, Length]
    labelled: Flag
    foreground_voxels: Count = 0
    content: list[Any] | None = None
    label_resampled: Flag = False

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if prod(self.shape) > _MOST_VOXELS:
            raise ValueError("the shape is of no scan")
        return self


class Description(Frozen):
    """What a cache folder holds.

    Attributes:
        raw: the raw folder, "" where nobody noted it.
        stored_type: of the images.
        plan: how the cases were prepared.
        fingerprint: what the raw cases looked like.
        cases: by id.
    """

    format: Literal["mednext cache"] = schema.FORMAT
    version: Literal[2] = VERSION
    raw: Annotated[str, Field(max_length=4096)] = ""
    stored_type: StoredType = "float16"
    plan: Plan
    fingerprint: Fingerprint
    cases: dict[FileName, CaseEntry]

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if schema.index_file(Path()).stem in self.cases:
            raise ValueError("a case is named as the index")
        return self


def write_description(folder: Path, description: Description) -> None:
    """Write ``dataset.json``."""
    write_json(schema.description_file(folder), description.model_dump(mode="json"))


def check_description(path: Path, content: object) -> Description:
    """What a ``dataset.json`` of this version or version 1 says, if it can be.

    Args:
        path: the file, for messages.
        content: its JSON.

    Raises:
        CacheError: of another program or version, or saying what cannot be.
    """
    if not isinstance(content, dict) or content.get("format") != schema.FORMAT:
        raise CacheError(f"{path} is not of a mednext cache", "Choose another --cache folder.")
    version = content.get("version")
    if not is_known(version):
        raise CacheError(
            f"{path} was made by another version of mednext (cache format {shown(version)}, here "
            f"1 to {VERSION})",
            "Make it anew with mednext preprocess --force, or choose another --cache.",
        )
    parts = ("plan", "fingerprint", "cases")
    missing = {name for name in parts if not isinstance(content.get(name), dict)}
    if missing:
        raise CacheError(f"{path} lacks {', '.join(sorted(missing))}", _AGAIN)
    try:
        described = read_value(Description, cache_from_1(content) if version == 1 else content)
    except ImpossibleValueError as error:
        raise CacheError(f"{path}: {error}", _AGAIN) from error
    note_older(content["version"], path)
    return described
