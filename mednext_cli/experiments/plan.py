"""What an experiment will do, before anything starts: a row a run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, nan
from pathlib import Path

from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.experiments.arms import ResolvedArm, resolve_arms
from mednext_cli.experiments.layout import ExperimentFolder, RunKey
from mednext_cli.experiments.needs import Needs, estimate_needs
from mednext_cli.experiments.notes import FailedNote, Note, WholeNote, read_note
from mednext_cli.experiments.parts import choose_part, group_runs
from mednext_cli.experiments.saved import join_saved
from mednext_cli.experiments.starts import check_starts
from mednext_cli.foundation.errors import CacheError, SettingsError, nearest
from mednext_cli.foundation.parts import Part, read_part
from mednext_cli.settings.experiment import ExperimentRecipe
from mednext_cli.settings.experiment_files import load_experiment
from mednext_cli.training.folds import choose_fold, splits_file_of
from mednext_cli.training.measure import made_up_plan
from mednext_cli.training.run_folder import RunFolder, has_begun, run_folder

_SEEDS = 2**32  # as of a recipe's training.seed
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExperimentSpec:
    """What `mednext experiment` is asked to do.

    Attributes:
        recipe: a shipped experiment's name or a TOML file.
        out: folder of the runs and results; None takes ``experiments/NAME`` of the recipe.
        cache: folder that holds the caches.
        settings: ``KEY=VALUE``, for all arms.
        seeds: instead of the recipe's; those of earlier calls stay in the tables.
        folds: likewise.
        arms: only these are run, and those they start from; None runs all.
        part: ``INDEX/TOTAL`` from 0, or ``auto`` for a task of a Slurm array; None runs all parts.
        device: auto, cpu, cuda, cuda:N or mps.
        scheduler: address of a Dask scheduler whose workers do the runs.
    """

    recipe: str
    out: Path | None = None
    cache: Path = Path("mednext_cache")
    settings: Sequence[str] = ()
    seeds: tuple[int, ...] | None = None
    folds: tuple[int, ...] | None = None
    arms: tuple[str, ...] | None = None
    part: str | None = None
    device: str = "auto"
    scheduler: str | None = None

    @property
    def folder(self) -> ExperimentFolder:
        """Where runs and results lie."""
        return ExperimentFolder(self.out or _usual_folder(self.recipe))


def _usual_folder(recipe: str) -> Path:
    """Of the experiment that lies in a folder already, that one; else below ``experiments/``."""
    file, name = Path(recipe), Path(recipe.removesuffix(".toml"))
    if file.name == "experiment.toml" and (file.parent / "recipes").is_dir():
        return file.parent
    outside = name.is_absolute() or ".." in name.parts
    return Path("experiments") / (name.name if outside else name)


@dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes:
        key: which.
        folder: of its training.
        needs: of its network.
        minutes: of its steps: taken where it is whole, else by its budget; nan where the budget is
            in epochs.
        charged_minutes: the same with those of the arms it starts from.
        note: what became of it so far.
        begun: whether there is a checkpoint to go on from.
        chosen: whether this call is to do it, if nobody has.
        is_behind: whether it is whole, but the run it began from has been trained anew since.
    """

    key: RunKey
    folder: RunFolder
    needs: Needs
    minutes: float
    charged_minutes: float
    note: Note | None
    begun: bool
    chosen: bool
    is_behind: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to do."""
        return isinstance(self.note, WholeNote)

    @property
    def state(self) -> str:
        """For people."""
        if self.is_whole:
            return "whole, its start is newer" if self.is_behind else "whole"
        if isinstance(self.note, FailedNote):
            return "failed, is tried again" if self.chosen else "failed"
        return ("begun" if self.begun else "to do") if self.chosen else "left out"


@dataclass(frozen=True)
class ExperimentPlan:
    """All runs of an experiment.

    Attributes:
        experiment: with the seeds and folds of earlier calls.
        arms: resolved, by name.
        cache: of the dataset; None where there is none yet.
        out: of the experiment.
        runs: in the order in which they are done, starting arms first.
    """

    experiment: ExperimentRecipe
    arms: Mapping[str, ResolvedArm]
    cache: CachedDataset | None
    out: ExperimentFolder
    runs: tuple[PlannedRun, ...]

    @property
    def todo(self) -> tuple[PlannedRun, ...]:
        """Runs that this call is to do."""
        return tuple(run for run in self.runs if run.chosen and not run.is_whole)

    @property
    def minutes(self) -> float:
        """Of the steps of all runs to do; nan where one's are not known."""
        return fsum(run.minutes for run in self.todo)


def plan_experiment(spec: ExperimentSpec) -> ExperimentPlan:
    """Plan an experiment; nothing is written.

    Without a cache of the dataset, networks are told for one channel, three classes and the
    published patch.

    Raises:
        SettingsError: the recipe, an option, or an arm cannot be, or the folder holds another
            experiment.
        CacheError: the cache is damaged.
    """
    experiment = _chosen_experiment(spec)
    arms = resolve_arms(experiment, spec.recipe)
    wanted = _wanted_arms(spec, arms)
    joined = join_saved(spec.folder, experiment, arms)
    cached = _find_cache(spec.cache / experiment.dataset)
    if cached is not None:
        _check_folds(experiment, arms, cached)
    plan = cached.plan if cached is not None else made_up_plan(1, 3)
    check_starts(experiment, arms, plan)
    needs = {name: estimate_needs(arm.recipe, plan) for name, arm in arms.items()}
    chosen = _chosen_runs(experiment, arms, wanted, read_part(spec.part) if spec.part else Part())
    runs = _Planner(joined, arms, needs, spec.folder, plan.dataset, frozenset(chosen)).runs()
    return ExperimentPlan(joined, arms, cached, spec.folder, runs)


def _chosen_experiment(spec: ExperimentSpec) -> ExperimentRecipe:
    experiment = load_experiment(spec.recipe, spec.settings)
    for seed in spec.seeds or ():
        if not 0 <= seed < _SEEDS:
            raise SettingsError(f"--seeds {seed}: no seed", f"Choose 0 to {_SEEDS - 1}.")
    given = {"seeds": spec.seeds, "folds": spec.folds}
    update = {key: tuple(dict.fromkeys(value)) for key, value in given.items() if value is not None}
    return experiment.model_copy(update=update)


def _wanted_arms(spec: ExperimentSpec, arms: Mapping[str, ResolvedArm]) -> set[str]:
    """The arms that were asked for and those they start from."""
    for name in spec.arms or ():
        if name not in arms:
            raise SettingsError(f"--arms {name}: no such arm", nearest(name, arms))
    return {name for arm in spec.arms or arms for name in arms[arm].chain}


def _find_cache(folder: Path) -> CachedDataset | None:
    try:
        return open_cache(folder)
    except CacheError:
        if folder.exists():
            raise
    return None


def _check_folds(
    experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm], cached: CachedDataset
) -> None:
    """Refuse folds that there are not, before hours of others."""
    for arm in arms.values():
        for fold in experiment.folds:
            splits = splits_file_of(cached.folder)
            choose_fold(cached, str(fold), arm.recipe.training, splits)


def _chosen_runs(
    experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm], wanted: set[str], part: Part
) -> list[RunKey]:
    keys = [key for key in ordered_keys(experiment, arms) if key.arm in wanted]
    chains = {name: arm.chain for name, arm in arms.items()}
    work = {key: experiment.arms[key.arm].budget for key in keys}
    return choose_part(group_runs(keys, chains), work, part)


def ordered_keys(
    experiment: ExperimentRecipe, arms: Mapping[str, ResolvedArm]
) -> tuple[RunKey, ...]:
    """All runs: one seed and fold after the other, in each the arms, starting arms first."""
    order = sorted(arms, key=lambda name: len(arms[name].chain))  # stable: else as in the file
    return tuple(
        RunKey(arm, seed, fold)
        for seed in experiment.seeds
        for fold in experiment.folds
        for arm in order
    )


@dataclass(frozen=True)
class _Planner:
    experiment: ExperimentRecipe
    arms: Mapping[str, ResolvedArm]
    needs: Mapping[str, Needs]
    out: ExperimentFolder
    dataset: str
    chosen: frozenset[RunKey]

    def runs(self) -> tuple[PlannedRun, ...]:
        planned: dict[RunKey, PlannedRun] = {}
        known = self._known_minutes()
        for key in ordered_keys(self.experiment, self.arms):
            note = read_note(self.out, key)
            minutes = note.minutes if isinstance(note, WholeNote) else known[key.arm]
            start = self.arms[key.arm].start
            begun_from = planned[RunKey(start, key.seed, key.fold)] if start else None
            below = begun_from.charged_minutes if begun_from else 0.0
            folder = self.folder(key)
            planned[key] = PlannedRun(
                key=key,
                folder=folder,
                needs=self.needs[key.arm],
                minutes=minutes,
                charged_minutes=minutes + below,
                note=note,
                begun=has_begun(folder),
                chosen=key in self.chosen,
                is_behind=_is_behind(note, begun_from),
            )
        return tuple(planned.values())

    def folder(self, key: RunKey) -> RunFolder:
        label = self.needs[key.arm].label
        return run_folder(self.out.runs(key), self.dataset, label, str(key.fold))

    def _known_minutes(self) -> dict[str, float]:
        """Of each arm: its budget, or the mean of its runs that are whole, else nan."""
        found: dict[str, list[float]] = {name: [] for name in self.arms}
        for key in ordered_keys(self.experiment, self.arms):
            note = read_note(self.out, key)
            if isinstance(note, WholeNote):
                found[key.arm].append(note.minutes)
        means = {name: fsum(taken) / len(taken) if taken else nan for name, taken in found.items()}
        budgets = {name: arm.recipe.training.minutes for name, arm in self.arms.items()}
        return {name: means[name] if budgets[name] is None else budgets[name] or nan
                for name in self.arms}  # fmt: skip


def _is_behind(note: Note | None, start: PlannedRun | None) -> bool:
    return isinstance(note, WholeNote) and start is not None and note.is_behind(start.note)
