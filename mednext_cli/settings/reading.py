"""Settings out of a file: the versions that are read, and the one place that refuses.

Version 1 said the same otherwise (`migrations`). What a file holds is validated here, once, when it
is loaded; whoever has a `Plan`, `Recipe` or `Progress` need not ask again.
"""

import logging
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from mednext_cli.settings.problems import first_problem

VERSION: Final = 2
"""Of checkpoints and caches."""
Value = TypeVar("Value", bound=BaseModel)
logger = logging.getLogger(__name__)


class ImpossibleValueError(ValueError):
    """A file says what cannot be; the text is one line: ``entry: why``."""


def is_known(version: object) -> bool:
    """Whether files of this version are read."""
    return type(version) is int and 1 <= version <= VERSION


def note_older(version: int, source: Path) -> None:
    """Say that a file was read as if this mednext had written it."""
    if version < VERSION:
        logger.info("%s: written by an older mednext, read as version %d", source, VERSION)


def read_value(kind: type[Value], values: object) -> Value:
    """The values of a file, in the form of this version, as what they stand for.

    Raises:
        ImpossibleValueError: they cannot be, or are of another form.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ImpossibleValueError(first_problem(error)) from error
