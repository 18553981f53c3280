"""An experiment: arms, seeds and folds that are trained and compared; frozen, checked at once."""

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from mednext_cli.foundation.names import check_file_name
from mednext_cli.settings.growth import GROWTH, Growth
from mednext_cli.settings.sections import Count, CountOrZero, PathText, Positive, Section, Table

_ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,59}")
_MOST = 100  # seeds, folds, arms: far beyond any experiment, and it never ends
_OF_THE_EXPERIMENT = {
    "seed": "the experiment's seeds say that",
    "minutes": "the experiment's [budget] says that, equal for all arms; an arm has a budget of "
    "its own as a multiple",
    "epochs": "the experiment's [budget] says that, equal for all arms; an arm has a budget of "
    "its own as a multiple",
}


def _each_once(values: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(values)) != len(values):
        raise ValueError("one is given twice")
    return values


def _check_arm_name(name: str) -> str:
    check_file_name(name)
    if not _ARM_NAME.fullmatch(name) or name.endswith((".", ".toml")):
        raise ValueError(
            "an arm's name is that of a folder: up to 60 letters, digits, dots, dashes, "
            "underscores and plus signs, a letter or digit first, without .toml at its end"
        )
    return name


def _check_settings(settings: Table) -> Table:
    training = settings.get("training", {})
    if not isinstance(training, Mapping):
        raise ValueError("training is a table")
    for key in training:
        if key in _OF_THE_EXPERIMENT:
            raise ValueError(f"training.{key} cannot be set here: {_OF_THE_EXPERIMENT[key]}")
    return settings


ArmName = Annotated[str, AfterValidator(_check_arm_name)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Settings = Annotated[Table, AfterValidator(_check_settings)]


class Budget(Section):
    """How long every arm is trained; exactly one of the two.

    Attributes:
        minutes: of steps, see `training.minutes`.
        epochs: see `training.epochs`.
    """

    minutes: Positive | None = None
    epochs: Count | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.minutes is None) == (self.epochs is None):
            raise ValueError("give either minutes or epochs")
        return self

    def times(self, share: float) -> dict[str, float | int]:
        """The values of `training` for an arm that gets this multiple of the budget."""
        if self.minutes is not None:
            return {"minutes": self.minutes * share}
        return {"epochs": max(1, round((self.epochs or 0) * share))}


class Arm(Section):
    """One of the things that are compared.

    Attributes:
        description: what it is, a line for tables and reports.
        recipe: training recipe that it begins with, instead of the experiment's.
        start: another arm, whose run of the same seed and fold gives the first weights; its minutes
            are charged to this one.
        growth: how UpKern makes larger kernels of smaller ones, where `start` has smaller ones.
        budget: times the experiment's.
        settings: laid over the recipe and the experiment's settings, by the keys of a recipe.
    """

    description: str = ""
    recipe: str | None = None
    start: str | None = None
    growth: Growth = GROWTH
    budget: Annotated[Positive, Field(le=1000.0)] = 1.0
    settings: Settings = Field(default_factory=dict)

    @model_validator(mode="after")
    def _grows_from_something(self) -> Self:
        if self.start is None and "growth" in self.model_fields_set:
            raise ValueError("growth is of an arm with a start")
        if self.start is not None and "init" in self.settings:
            raise ValueError("start says what it begins with: leave settings.init out")
        return self


def _check_arms(arms: dict[str, Arm]) -> dict[str, Arm]:
    seen: dict[str, str] = {}
    for name, arm in arms.items():
        if seen.setdefault(name.casefold(), name) != name:
            raise ValueError(f"{seen[name.casefold()]} and {name} are one folder on some disks")
        if arm.start is not None and arm.start not in arms:
            raise ValueError(
                f"{name} starts from {arm.start!r}, which is no arm; they are {', '.join(arms)}"
            )
    for name in arms:
        _check_chain(name, arms)
    return arms


def _check_chain(name: str, arms: Mapping[str, Arm]) -> None:
    chain = [name]
    while (start := arms[chain[-1]].start) is not None:
        if start in chain:
            raise ValueError(f"arms that start from each other: {' from '.join([*chain, start])}")
        chain.append(start)


class Transfer(Section):
    """Another dataset, on which the trained arms are scored: as they are, and fine-tuned.

    Attributes:
        dataset: name of its cache.
        cache: folder that holds that cache, where it is not the experiment's: two caches of one
            name cannot lie beside each other.
        label_map: which of its labels are which of the experiment's, see `mednext evaluate
            --label-map`; left out, both have the same labels.
        cases: how many of its training cases an arm is fine-tuned on; 0 trains on none.
        budget: of each fine-tuning, times the experiment's.
        settings: laid over the arms' recipes for fine-tuning.
    """

    dataset: Annotated[str, AfterValidator(check_file_name)]
    cache: PathText | None = None
    label_map: str | None = None
    cases: Annotated[
        tuple[CountOrZero, ...], Field(min_length=1, max_length=_MOST), AfterValidator(_each_once)
    ] = (0, 1, 5, 20)
    budget: Annotated[Positive, Field(le=1000.0)] = 0.1
    settings: Settings = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_is_its_own(self) -> Self:
        if "init" in self.settings:
            raise ValueError("fine-tuning begins with the arm's weights: leave settings.init out")
        if "cases" in self.settings.get("training", {}):
            raise ValueError("cases says that: leave settings.training.cases out")
        return self


class ExperimentRecipe(Section):
    """What is run and compared.

    Attributes:
        description: one line, for lists.
        claim: which claim it tests, with the paper's section or table.
        dataset: name of the cache.
        recipe: training recipe that every arm begins with: shipped, or a file.
        seeds: each replaces `training.seed`; all arms are run with all of them.
        folds: which folds are trained and scored.
        budget: of every arm.
        settings: laid over the recipe for every arm, by the keys of a recipe.
        transfer: another dataset to score the trained arms on.
        arms: by name, in the order of the file; the others are compared with the first.
    """

    description: str = ""
    claim: str = ""
    dataset: Annotated[str, AfterValidator(check_file_name)]
    recipe: str = "mednext"
    seeds: Annotated[
        tuple[Annotated[Seed, Field(strict=True)], ...],
        Field(min_length=1, max_length=_MOST),
        AfterValidator(_each_once),
    ]
    folds: Annotated[
        tuple[CountOrZero, ...], Field(min_length=1, max_length=_MOST), AfterValidator(_each_once)
    ] = (0,)
    budget: Budget
    settings: Settings = Field(default_factory=dict)
    transfer: Transfer | None = None
    arms: Annotated[
        dict[ArmName, Arm], Field(min_length=1, max_length=_MOST), AfterValidator(_check_arms)
    ]

    def chain(self, name: str) -> tuple[str, ...]:
        """The arm, the one it starts from, and so on."""
        found = [name]
        while (start := self.arms[found[-1]].start) is not None:
            found.append(start)
        return tuple(found)


def experiment_keys(arms: list[str]) -> list[str]:
    """Every key of an experiment that has these arms, dotted."""
    own = [
        key for key in ExperimentRecipe.model_fields if key not in ("budget", "transfer", "arms")
    ]
    tables: dict[str, type[Section]] = {"budget": Budget, "transfer": Transfer}
    inner = [f"{name}.{key}" for name, kind in tables.items() for key in kind.model_fields]
    return [*own, *inner, *(f"arms.{name}.{key}" for name in arms for key in Arm.model_fields)]
