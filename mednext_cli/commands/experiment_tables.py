"""What `mednext experiment` and `mednext recipes check` print of an experiment."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mednext_cli.experiments.arm_rows import ArmRow
    from mednext_cli.experiments.arms import ResolvedArm
    from mednext_cli.experiments.comparison import ComparisonRow
    from mednext_cli.experiments.needs import Needs
    from mednext_cli.experiments.plan import ExperimentPlan
    from mednext_cli.experiments.transfer_results import TransferRow

ARMS = (
    "arm", "network", "patch (voxels)", "batch", "parameters (M)", "multiply-adds a patch (G)",
    "float32 step (GiB)", "training", "starts from",
)  # fmt: skip
RUNS = (
    "arm", "seed", "fold", "network", "parameters (M)", "multiply-adds a patch (G)",
    "float32 step (GiB)", "minutes", "charged", "A100 hours", "state",
)  # fmt: skip
COMPARED = (
    "arm", "runs", "charged minutes", "dice", "spread over seeds", "surface dice",
    "less the first", "95 % interval", "p (Holm)",
)  # fmt: skip
TRANSFERRED = ("arm", "training cases", "runs", "dice", "spread over seeds", "surface dice")


def arm_rows(
    arms: Mapping[str, "ResolvedArm"], needs: Mapping[str, "Needs"]
) -> Iterator[tuple[object, ...]]:
    """A row an arm, under the header `ARMS`."""
    from mednext_cli.networks.patches import shown_patch

    for name, arm in arms.items():
        need = needs[name]
        yield (
            name,
            need.label,
            shown_patch(need.patch_voxels),
            need.batch_size,
            known(need.parameters / 1e6),
            known(need.multiply_adds / 1e9),
            known(need.step_gib),
            _length(arm),
            arm.start,
        )


def known(value: float) -> float | None:
    """The number, or nothing where it is not known."""
    return None if isnan(value) else value


def _length(arm: "ResolvedArm") -> str:
    training = arm.recipe.training
    if training.minutes is not None:
        return f"{training.minutes:g} minutes"
    return f"{training.epochs:,} epochs"


def run_rows(plan: "ExperimentPlan") -> Iterator[tuple[object, ...]]:
    """A row a run, under the header `RUNS`."""
    from mednext_cli.experiments.published_hours import estimate_a100_hours

    for run in plan.runs:
        yield (
            run.key.arm,
            run.key.seed,
            run.key.fold,
            run.needs.label,
            known(run.needs.parameters / 1e6),
            known(run.needs.multiply_adds / 1e9),
            known(run.needs.step_gib),
            known(run.minutes),
            known(run.charged_minutes),
            known(estimate_a100_hours(run.needs, plan.arms[run.key.arm].recipe.training)),
            run.state,
        )


def total(plan: "ExperimentPlan") -> str:
    """How much there is to do, in a line."""
    todo, whole = plan.todo, sum(run.is_whole for run in plan.runs)
    known_minutes = [run.minutes for run in todo if not isnan(run.minutes)]
    unknown = len(todo) - len(known_minutes)
    length = f"{sum(known_minutes):,.1f} minutes of training steps"
    if unknown:
        length = (
            f"{length} and {unknown} runs of unknown length" if known_minutes else "minutes unknown"
        )
    return f"{len(plan.runs)} runs, {whole} whole, {len(todo)} to do here: {length}{_further(plan)}"


def _further(plan: "ExperimentPlan") -> str:
    """What becomes of each run on the other dataset."""
    if (transfer := plan.experiment.transfer) is None:
        return ""
    tuned = ", ".join(str(cases) for cases in transfer.cases if cases)
    untouched = " as it is" if 0 in transfer.cases else ""
    further = f" fine-tuned on {tuned} cases of it" if tuned else ""
    words = f"{untouched} and{further}" if untouched and further else untouched or further
    each = f", {transfer.budget:g} of the budget each" if tuned else ""
    return f"; then each is scored on {transfer.dataset}{words}{each}"


def hours(plan: "ExperimentPlan") -> str:
    """What all runs to do would take on an A100, in a line; empty where nobody can tell."""
    from mednext_cli.experiments.published_hours import HOURS_SOURCE, estimate_a100_hours

    taken = [
        estimate_a100_hours(run.needs, plan.arms[run.key.arm].recipe.training) for run in plan.todo
    ]
    told = [one for one in taken if not isnan(one)]
    if not told:
        return ""
    unknown = len(taken) - len(told)
    rest = f", and {unknown} runs that nobody published the like of" if unknown else ""
    return (
        f"about {sum(told):,.0f} hours of one A100 of 40 GB{rest}: an estimate from trainings of "
        f"{HOURS_SOURCE}"
    )


def compared_rows(arms: Sequence["ArmRow"]) -> Iterator[tuple[object, ...]]:
    """A row an arm, under the header `COMPARED`."""
    for row in arms:
        against = row.against
        yield (
            row.arm,
            f"{row.whole}/{row.total}",
            known(row.charged_minutes),
            known(row.dice),
            known(row.spread),
            known(row.surface_dice),
            known(against.difference) if against else None,
            _interval(against) if against else None,
            known(against.p_holm) if against else None,
        )


def _interval(row: "ComparisonRow") -> str | None:
    return None if isnan(row.ci95_low) else f"{row.ci95_low:.3g} to {row.ci95_high:.3g}"


def transfer_rows(rows: Sequence["TransferRow"]) -> Iterator[tuple[object, ...]]:
    """A row an arm and number of training cases, under the header `TRANSFERRED`."""
    from mednext_cli.experiments.transfer_results import summarise_transfer

    for row in summarise_transfer(rows):
        yield (
            row.arm,
            row.training_cases,
            f"{row.whole}/{row.total}",
            known(row.dice),
            known(row.spread),
            known(row.surface_dice),
        )
