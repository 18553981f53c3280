"""The table `[callbacks]` of a recipe."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.settings.sections import NO_RESULT, RegisteredName, Section, Table

_MOST = 16


class CallbackSettings(Section):
    """Who else is told how a run goes: its begin, every epoch, every checkpoint, its end.

    What a callback lets choose is a table of its own, `[callbacks.NAME]`. No result depends on
    any of it: a run that has begun may be given others. The recipe is kept with the run, so keys
    to a server have no place in it. concepts/recipe.md says more.

    Attributes:
        names: `wandb`, `mlflow`, or others that `mednext plugins` lists (ours).
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, Table]  # by the name of a callback

    names: Annotated[tuple[RegisteredName, ...], Field(max_length=_MOST), NO_RESULT] = ()

    @model_validator(mode="after")
    def _refuse_what_nothing_heeds(self) -> Self:
        if len(set(self.names)) != len(self.names):
            raise ValueError("a callback is named twice")
        for name in self.__pydantic_extra__:
            if name not in self.names:
                raise ValueError(f"[callbacks.{name}] is of no callback in names")
        return self

    def table(self, name: str) -> Table:
        """The values of a callback's own table; empty where it has none."""
        return dict(self.__pydantic_extra__.get(name, {}))


def callback_settings(name: str) -> type[BaseModel]:
    """What the table `[callbacks.NAME]` may hold.

    Raises:
        PluginError: there is no such callback, or its package does not load.
    """
    settings: type[BaseModel] = getattr(load_plugin("callbacks", name), "Settings", Section)
    return settings
