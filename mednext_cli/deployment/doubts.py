"""Which figures are none, or not to be trusted, and why."""

from mednext_cli.deployment.configurations import Configuration
from mednext_cli.deployment.measurement import Failure, Measurement
from mednext_cli.deployment.summary import summarise

_LEAST_CORES = 0.8  # that a network keeps busy, unless others take them


def problem_of(one: Configuration, found: Measurement | Failure) -> str:
    """Why a configuration failed, or why its figures are too large; empty where all is well."""
    if isinstance(found, Failure):
        return found.problem
    share = summarise(found)["network"].cores
    if one.device.type == "cpu" and share < _LEAST_CORES:
        return f"the machine was busy: the network got {share:.0%} of a core; measure it again"
    return ""


def is_open(one: Configuration, found: Measurement | Failure | None) -> bool:
    """Whether it is to be measured: what is not known, failed, or was disturbed."""
    return found is None or bool(problem_of(one, found))
