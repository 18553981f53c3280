"""What the names and shapes of published weights tell of the network they are of."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.family import NetworkSettings
from mednext_cli.settings.problems import first_problem

Chosen = TypeVar("Chosen", bound=NetworkSettings)


def count_parts(names: Iterable[str], prefix: str) -> int:
    """How many different numbers follow `prefix` in the names: layers of a list."""
    number = re.compile(re.escape(prefix) + r"(\d+)\b")
    return len({match[1] for name in names if (match := number.match(name))})


def root_of(tokens: int, dimensions: int) -> int | None:
    """Edge of the square or cube of so many tokens; None where they make none."""
    edge = round(tokens ** (1 / dimensions))
    return edge if edge**dimensions == tokens else None


def check_patch(settings: NetworkSettings, tokens: int) -> None:
    """Raise `CheckpointError` where nobody said what patch so many tokens are of."""
    if getattr(settings, "patch_voxels", None) is None:
        raise CheckpointError(
            f"these weights are of a patch of {tokens} tokens, which does not tell its shape",
            "Say it with --set patch_voxels=[D,H,W].",
        )


def agree(kind: type[Chosen], found: Mapping[str, Any], said: Mapping[str, Any]) -> Chosen:
    """Settings from what weights tell, and what was said because they do not.

    Args:
        kind: the settings of a family.
        found: values that the weights tell.
        said: others; those that the weights tell as well must be the same.

    Raises:
        CheckpointError: the weights are of other values than said.
        SettingsError: values of `said` that cannot be.
    """
    try:
        settings = kind.model_validate({**found, **said})
    except ValidationError as error:
        raise SettingsError(
            f"settings of the weights: {first_problem(error)}",
            f"--set takes {', '.join(kind.model_fields)}.",
        ) from error
    for name in said:
        if name in found and getattr(settings, name) != found[name]:
            raise CheckpointError(
                f"these weights have {name} {found[name]}, not {getattr(settings, name)}",
                f"Leave out {name}: the weights tell it.",
            )
    return settings
