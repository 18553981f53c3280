"""One network said in plain values: a family, its settings, and the ends a dataset gives it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.names import check_name, shown
from mednext_cli.networks.family import NetworkSettings
from mednext_cli.networks.patches import PatchRule
from mednext_cli.networks.registry import Family, find_family, plain
from mednext_cli.settings.problems import first_problem

_MOST_CHANNELS = 1024  # far beyond any network that was ever trained
_CORRECT = "Correct it where it comes from."


@dataclass(frozen=True)
class NetworkSpec:
    """All that a network is built from; equal ones have the same shapes and the same arithmetic.

    Attributes:
        name: the family, as registered under `mednext.networks`.
        settings: the family's.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
        deep_supervision: whether it has heads on lower resolutions.

    Raises:
        SettingsError: channels that no network has, or heads that the family has not.
        PluginError: nobody registered the family.
    """

    name: str
    settings: NetworkSettings
    in_channels: int
    out_channels: int
    deep_supervision: bool

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= _MOST_CHANNELS:
                raise SettingsError(
                    f"{name} {shown(value)} is not possible", f"Give 1 to {_MOST_CHANNELS}."
                )
        if self.deep_supervision and not self.family.deep_supervision:
            raise SettingsError(
                f"network {self.name} has no heads for deep supervision",
                'Set model.deep_supervision to "auto" or false.',
            )

    @property
    def family(self) -> Family:
        """Who builds it."""
        return find_family(self.name)

    @property
    def patch_rule(self) -> PatchRule:
        """Which patches it takes."""
        return self.family.patch_rule(self.settings)

    @property
    def has_one_graph(self) -> bool:
        """Whether one exported graph serves every patch that it takes."""
        return self.family.one_graph(self.settings) and self.patch_rule.fixed is None

    @property
    def kernels(self) -> tuple[int, ...]:
        """Sizes of the kernels that UpKern can enlarge, voxels."""
        return self.family.kernels(self.settings)

    def with_kernel(self, kernel: int) -> "NetworkSpec":
        """The same network with this kernel everywhere."""
        return replace(self, settings=self.family.with_kernel(self.settings, kernel))

    def dump(self) -> dict[str, Any]:
        """Plain types, for checkpoints."""
        return {**vars(self), "settings": plain(self.settings)}

    def flat(self) -> dict[str, Any]:
        """The same in one table, for people."""
        values = self.dump()
        return {"network": values.pop("name"), **values.pop("settings"), **values}


def describe_network(
    network: str,
    in_channels: int,
    out_channels: int,
    deep_supervision: bool | None = None,
    **settings: Any,  # noqa: ANN401 - each family has its own
) -> NetworkSpec:
    """A network by its family's name and settings: `describe_network("mednext", 1, 3, size="B")`.

    Args:
        network: name of the family.
        in_channels: channels of the image.
        out_channels: classes with the background, or regions.
        deep_supervision: heads on lower resolutions; None where the family trains them by default.
        settings: of the family, see its `Settings`.

    Raises:
        SettingsError: settings that the family does not take.
        PluginError: there is no such family.
    """
    return _described(network, in_channels, out_channels, deep_supervision, settings)


def _described(
    network: str,
    in_channels: int,
    out_channels: int,
    deep_supervision: bool | None,
    settings: Mapping[str, Any],
) -> NetworkSpec:
    family = find_family(network)
    try:
        chosen = family.Settings.model_validate(settings)
    except ValidationError as error:
        raise SettingsError(f"network {network}: {first_problem(error)}", _CORRECT) from error
    deep = family.supervises(chosen) if deep_supervision is None else deep_supervision
    return NetworkSpec(network, chosen, in_channels, out_channels, deep)


class _Saved(BaseModel):
    """What a checkpoint says of its network, before the family is asked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    settings: dict[str, Any]
    in_channels: int = Field(ge=1, le=_MOST_CHANNELS)
    out_channels: int = Field(ge=1, le=_MOST_CHANNELS)
    deep_supervision: bool


def read_spec(values: Mapping[str, Any]) -> NetworkSpec:
    """Read back what `NetworkSpec.dump` gave.

    Raises:
        SettingsError: keys unknown or missing, or values out of range.
        PluginError: the family's package is not installed.
    """
    try:
        saved = _Saved.model_validate(values)
        check_name(saved.name)
    except ValidationError as error:
        raise SettingsError(
            f"a network that cannot be: {first_problem(error)}", _CORRECT
        ) from error
    except ValueError as error:
        raise SettingsError(f"network: {error}", "Give the name of a network.") from error
    return _described(
        saved.name, saved.in_channels, saved.out_channels, saved.deep_supervision, saved.settings
    )
