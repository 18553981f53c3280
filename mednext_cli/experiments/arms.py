"""What the arms of an experiment train: a resolved recipe each, checked all at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from mednext_cli.foundation.errors import MednextError, SettingsError
from mednext_cli.networks.recipes import check_recipe
from mednext_cli.settings.experiment import ExperimentRecipe
from mednext_cli.settings.recipe import Recipe
from mednext_cli.settings.recipe_files import RecipeSource, Table, lay_over, read_source


@dataclass(frozen=True)
class ResolvedArm:
    """An arm as it is trained.

    Attributes:
        name: of the arm.
        recipe: resolved, with its share of the budget; the seed is that of the first run.
        chain: the arm, the one it starts from, and so on.
    """

    name: str
    recipe: Recipe
    chain: tuple[str, ...]

    @property
    def start(self) -> str | None:
        """The arm whose runs give the first weights."""
        return self.chain[1] if len(self.chain) > 1 else None

    def seeded(self, seed: int) -> Recipe:
        """The recipe of a run with this seed."""
        training = self.recipe.training.model_copy(update={"seed": seed})
        return self.recipe.model_copy(update={"training": training})


def resolve_arms(experiment: ExperimentRecipe, source: str) -> dict[str, ResolvedArm]:
    """The recipes of all arms, in the order of the file.

    Args:
        experiment: validated.
        source: its name, for messages.

    Raises:
        SettingsError: what is wrong with the recipes of the arms: all of it, by arm.
    """
    arms, problems = {}, dict[str, MednextError]()
    for name in experiment.arms:
        try:
            recipe = check_recipe(_source(experiment, name))
        except MednextError as error:
            problems[name] = error
        else:
            arms[name] = ResolvedArm(name, recipe, experiment.chain(name))
    if problems:
        raise _refused(source, problems, len(experiment.arms))
    return arms


def _source(experiment: ExperimentRecipe, name: str) -> RecipeSource:
    """The values of an arm's recipe: the base, what all arms change, what it changes."""
    arm = experiment.arms[name]
    values = read_source(arm.recipe or experiment.recipe).values
    for above in (experiment.settings, arm.settings):
        values = lay_over(values, above)
    training = {**experiment.budget.times(arm.budget), "seed": experiment.seeds[0]}
    values = lay_over(_without_minutes(values), {"training": training})
    return RecipeSource({**values, "description": arm.description or name}, f"arm {name}")


def _without_minutes(values: Table) -> Table:
    """A base with minutes of its own would take an experiment's epochs for nothing."""
    training = values.get("training")
    if not isinstance(training, dict):
        return values
    return {**values, "training": {k: v for k, v in training.items() if k != "minutes"}}


def _refused(source: str, problems: Mapping[str, MednextError], total: int) -> SettingsError:
    """One line; what is wrong with all arms alike stands there once."""
    texts: dict[str, list[str]] = {}
    for name, error in problems.items():
        texts.setdefault(error.message.removeprefix(f"arm {name}: "), []).append(name)
    parts = [
        text if len(names) == total > 1 else f"arm {', '.join(names)}: {text}"
        for text, names in texts.items()
    ]
    remedies = dict.fromkeys(error.remedy for error in problems.values())
    return SettingsError(f"{source}: {'; '.join(parts)}", " ".join(remedies))
