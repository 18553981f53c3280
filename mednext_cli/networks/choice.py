"""The network that a recipe chooses: its own table validated by its family."""

import re
from dataclasses import dataclass, replace

from pydantic import ValidationError

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.family import NetworkSettings
from mednext_cli.networks.patches import Patch, PatchRule
from mednext_cli.networks.registry import Family, find_family, plain
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.problems import first_problem
from mednext_cli.settings.recipe import ModelSettings, Recipe
from mednext_cli.settings.sections import Operators

Spacing = tuple[float, float, float]
ISOTROPIC: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class ChosenNetwork:
    """A network that lacks only the channels, which a dataset gives, and how it is run.

    Attributes:
        family: who builds it.
        settings: the family's, as the recipe has them or planned.
        deep_supervision: whether heads on lower resolutions are trained.
        checkpointing: whether activations are computed again for the gradient.
        operators: see `ModelSettings`.
    """

    family: Family
    settings: NetworkSettings
    deep_supervision: bool
    checkpointing: bool
    operators: Operators

    @property
    def label(self) -> str:
        """The folder of its runs, like ``S-k3``; another network never has the same."""
        own: str = self.family.label(self.settings)
        heads = "deep_supervision" if self.deep_supervision else "one_head"
        usual = self.deep_supervision == self.family.supervises(self.settings)
        return "-".join((re.sub(r"[^A-Za-z0-9_-]+", "_", own), *(() if usual else (heads,))))

    def planned(self, patch_voxels: Patch, spacing_mm: Spacing = ISOTROPIC) -> "ChosenNetwork":
        """With what the settings leave to the plan; see `NetworkFamily.planned`."""
        settings = self.family.planned(self.settings, patch_voxels, spacing_mm)
        return replace(self, settings=settings)

    def spec(self, in_channels: int, out_channels: int) -> NetworkSpec:
        """With these channels of the image, and these classes or regions."""
        return NetworkSpec(
            self.family.name, self.settings, in_channels, out_channels, self.deep_supervision
        )


def choose_network(model: ModelSettings) -> ChosenNetwork:
    """What a recipe's `[model]` says, where it leaves a choice what the family does.

    Raises:
        SettingsError: the network's own table holds what cannot be.
        PluginError: there is no such network.
    """
    family = find_family(model.network)
    try:
        settings = family.Settings.model_validate(model.table)
    except ValidationError as error:
        raise SettingsError(
            f"model.{model.network}.{first_problem(error)}", "Correct the recipe."
        ) from error
    deep, again = model.deep_supervision, model.checkpointing
    return ChosenNetwork(
        family=family,
        settings=settings,
        deep_supervision=family.supervises(settings) if deep == "auto" else deep,
        checkpointing=family.checkpointing(settings) if again == "auto" else again,
        operators=model.operators,
    )


def default_patch_rule() -> PatchRule:
    """Which patches the network takes that an empty recipe has; plans are made for it."""
    chosen = choose_network(ModelSettings())
    return chosen.family.patch_rule(chosen.settings)


def completed(recipe: Recipe) -> Recipe:
    """The recipe with every value of its network's own table, and no other network's table.

    Raises:
        SettingsError, PluginError: see `choose_network`.
    """
    return with_settings(recipe, choose_network(recipe.model).settings)


def with_settings(recipe: Recipe, settings: NetworkSettings) -> Recipe:
    """The recipe with these settings of its network, and no other network's table."""
    model = recipe.model
    values = {name: getattr(model, name) for name in ModelSettings.model_fields}
    values[model.network] = plain(settings)
    return recipe.model_copy(update={"model": ModelSettings.model_validate(values)})
