"""What is wrong with values from a file, said in one line."""

from pydantic import ValidationError

from mednext_cli.foundation.names import shown


def _entry(part: int | str) -> str:
    return str(part) if isinstance(part, int) or part.isidentifier() else shown(part)


def first_problem(error: ValidationError) -> str:
    """Of all that is wrong with values from a file, the first, on one line: ``entry: why``."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(_entry, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
