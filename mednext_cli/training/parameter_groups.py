"""Which weights move, and how fast: frozen parts and rates of their own, for fine-tuning."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.fine_tuning import FineTuningSettings
from mednext_cli.training.schedule import RATE_FACTOR


def group_parameters(network: nn.Module, settings: FineTuningSettings) -> list[dict[str, Any]]:
    """The optimiser's groups: one of all weights, or one a factor; frozen weights are in none.

    Raises:
        SettingsError: the network has no such part, or all of it is frozen.
    """
    factors = settings.factors
    if not factors:
        return [{"params": list(network.parameters())}]
    names = [name for name, _ in network.named_parameters()]
    _check_parts(names, factors)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, weights in network.named_parameters():
        parts = [part for part in factors if _is_in(name, part)]
        factor = factors[max(parts, key=len)] if parts else 1.0
        weights.requires_grad_(factor > 0)
        if factor > 0:
            groups.setdefault(factor, []).append(weights)
    if not groups:
        raise SettingsError(
            "fine_tuning.freeze leaves nothing of the network to train", "Name fewer parts."
        )
    return [{"params": params, RATE_FACTOR: factor} for factor, params in groups.items()]


def _is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _check_parts(names: list[str], parts: Iterable[str]) -> None:
    for part in parts:
        if not any(_is_in(name, part) for name in names):
            known = dict.fromkeys(name.partition(".")[0] for name in names)
            raise SettingsError(
                f"fine_tuning: the network has no part {part!r}",
                f"It has {', '.join(known)}, and what is below them, like {names[-1]}.",
            )
