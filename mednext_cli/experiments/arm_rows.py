"""What an arm came to over its seeds: mean, spread, and what it is against the first arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

from mednext_cli.evaluation.tables.summary import OVERALL
from mednext_cli.experiments.comparison import ComparisonRow
from mednext_cli.experiments.plan import ExperimentPlan
from mednext_cli.experiments.scores import FoldScores


@dataclass(frozen=True)
class ArmRow:
    """What an arm came to, over its seeds.

    Attributes:
        arm: its name.
        network: label of its network.
        whole: runs that are whole.
        total: runs there are to be.
        parameters: trainable; nan where not known before a run.
        multiply_adds: of a forward pass of a training patch; likewise.
        charged_minutes: mean over the whole runs; nan without any.
        dice: mean over seeds of the mean over cases and regions; nan without any whole run.
        spread: sample standard deviation over seeds of the same; nan for one seed.
        surface_dice: mean over seeds.
        against: compared with the first arm, by Dice; None of the first arm.
    """

    arm: str
    network: str
    whole: int
    total: int
    parameters: float
    multiply_adds: float
    charged_minutes: float
    dice: float
    spread: float
    surface_dice: float
    against: ComparisonRow | None


def summarise_arm(
    plan: ExperimentPlan,
    name: str,
    folds: Sequence[FoldScores],
    comparison: Sequence[ComparisonRow],
) -> ArmRow:
    """What an arm came to.

    Args:
        plan: with what became of each run.
        name: of the arm.
        folds: scores of the whole runs.
        comparison: the rows of comparison.csv.
    """
    runs = [run for run in plan.runs if run.key.arm == name]
    whole = [run for run in runs if run.is_whole]
    needs = runs[0].needs
    dice, surface = (seed_means(folds, name, metric) for metric in ("dice", "surface_dice"))
    first = next(iter(plan.arms))
    against = (
        row
        for row in comparison
        if (row.metric, row.region, row.arm, row.against) == ("dice", OVERALL, name, first)
    )
    return ArmRow(
        arm=name,
        network=needs.label,
        whole=len(whole),
        total=len(runs),
        parameters=needs.parameters,
        multiply_adds=needs.multiply_adds,
        charged_minutes=_mean([run.charged_minutes for run in whole]),
        dice=_mean(list(dice.values())),
        spread=float(np.std(list(dice.values()), ddof=1)) if len(dice) > 1 else nan,
        surface_dice=_mean(list(surface.values())),
        against=next(against, None),
    )


def seed_means(folds: Sequence[FoldScores], arm: str, metric: str) -> dict[int, float]:
    """Of each seed of an arm: the mean over the cases of its folds, and their regions."""
    found: dict[int, list[float]] = {}
    for fold in folds:
        per_case = fold.per_case(metric, OVERALL)
        for place, key in enumerate(fold.runs):
            if key.arm == arm:
                found.setdefault(key.seed, []).extend(per_case[:, place].tolist())
    return {seed: float(np.nanmean(values)) for seed, values in found.items() if _any(values)}


def _any(values: Sequence[float]) -> bool:
    return bool(np.isfinite(values).any())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else nan
