"""Whether arms can begin with the weights of the arms they start from, before hours of training."""

from collections.abc import Mapping
from pathlib import Path

import torch

from mednext_cli.experiments.arms import ResolvedArm
from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.networks.choice import choose_network
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.experiment import ExperimentRecipe
from mednext_cli.settings.plan import Plan
from mednext_cli.training.initialise import Start, check_start
from mednext_cli.training.starting import Setup


def check_starts(experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm], plan: Plan) -> None:
    """Refuse an arm whose network is not that of its start but for larger kernels.

    Raises:
        SettingsError: names the arm, its start, and what differs.
    """
    for name, arm in arms.items():
        if arm.start is None:
            continue
        start = Start(Path(f"arm {arm.start}"), "", experiment.arms[name].growth)
        try:
            check_start(_network(arms[arm.start], plan), _network(arm, plan), start)
        except CheckpointError as error:
            raise SettingsError(
                f"arm {name} cannot start from arm {arm.start}: {error.message}", error.remedy
            ) from error


def _network(arm: ResolvedArm, plan: Plan) -> NetworkSpec:
    return Setup(arm.recipe, choose_network(arm.recipe.model), plan, torch.device("cpu")).network
