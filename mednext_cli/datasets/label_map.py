"""What two datasets both name: which label of the one is which of the other, and what only one has.

A network trained on one dataset (the source) is scored on another (the target) by what both name.
Voxels of a target label without a partner are ignored: the network was never told of it, and what
it says there is neither right nor wrong. A source label without a partner becomes background: it
takes voxels from the shared labels where it is wrong, and is never scored itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from mednext_cli.datasets.registry import load_layout
from mednext_cli.foundation.errors import SettingsError, nearest
from mednext_cli.foundation.files import read_toml
from mednext_cli.settings.labels import LabelSet, LabelValue, region_name
from mednext_cli.settings.reading import ImpossibleValueError, read_value
from mednext_cli.settings.values import Frozen, Name

_FORM = 'Write a table [label_map] of lines like postcava = "inferior_vena_cava": target = source.'


def _one_spelling(table: object) -> object:
    """Names as label sets spell them; two that fall together are refused."""
    if not isinstance(table, dict):
        return table
    spelled: dict[str, str] = {}
    for name in table:
        if (plain := region_name(name)) in spelled:
            raise ValueError(f"{spelled[plain]} and {name} are one name")
        spelled[plain] = name
    return {
        plain: region_name(table[name]) if isinstance(table[name], str) else table[name]
        for plain, name in spelled.items()
    }


Pairs = Annotated[Mapping[Name, Name], BeforeValidator(_one_spelling), Field(min_length=1)]
Values = Annotated[Mapping[Name, LabelValue], BeforeValidator(_one_spelling)]


class LabelMap(Frozen):
    """Labels of a target dataset by those of the source that mean the same; a TOML file.

    Attributes:
        description: one line.
        source: what the predictions' labels are called: a dataset layout with labels of its own, or
            label value by name; None where a record beside the predictions says so.
        target: the same for the references.
        label_map: name in the source by name in the target.
    """

    description: str = ""
    source: Name | Values | None = None
    target: Name | Values | None = None
    label_map: Pairs


@dataclass(frozen=True)
class SharedLabels:
    """A label map in label values.

    Attributes:
        mapping: target value by source value; 0 for source labels without a partner.
        ignored: target values without a partner, ascending.
    """

    mapping: Mapping[int, int]
    ignored: tuple[int, ...]


def find_label_maps() -> dict[str, Path]:
    """The label maps that come with mednext, by name."""
    folder = Path(__file__).parent / "label_maps"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_label_map(name_or_file: str) -> LabelMap:
    """A shipped label map by its name, or one of a file that ends in ``.toml``.

    Raises:
        SettingsError: there is none, it is not of that form, a name is there twice, or one source
            label stands for two of the target.
    """
    path = Path(name_or_file)
    if path.suffix != ".toml":
        shipped = find_label_maps()
        if name_or_file not in shipped:
            raise SettingsError(
                f"unknown label map {name_or_file!r}",
                f"{nearest(name_or_file, shipped)}; or FILE.toml.",
            )
        path = shipped[name_or_file]
    try:
        label_map = read_value(LabelMap, read_toml(path))
    except ImpossibleValueError as error:
        raise SettingsError(f"{path}: {error}", _FORM) from error
    if twice := _twice(label_map.label_map.values()):
        raise SettingsError(
            f"{path}: the source label {twice} stands for two labels of the target", _FORM
        )
    return label_map


def named_labels_of(side: str | Mapping[str, int] | None) -> LabelSet | None:
    """What a label map says of one side's labels; None where it leaves that open.

    Raises:
        PluginError: there is no such layout.
        SettingsError: the layout has no labels of its own.
    """
    if side is None:
        return None
    if not isinstance(side, str):
        return LabelSet(names=side, regions={name: (value,) for name, value in side.items()})
    labels = load_layout(side).label_set
    if labels is None:
        raise SettingsError(
            f"the layout {side} has no labels of its own",
            "Leave it out of the label map, or write a table NAME = VALUE instead.",
        )
    return labels


def share_labels(label_map: LabelMap, source: LabelSet, target: LabelSet) -> SharedLabels:
    """The label map in the values of both datasets.

    Raises:
        SettingsError: a name that the dataset does not have; names the nearest.
    """
    for names, known, side in (
        (label_map.label_map.values(), source, "source"),
        (label_map.label_map, target, "target"),
    ):
        _check_known(names, known, side)
    pairs = {
        source.names[theirs]: target.names[ours] for ours, theirs in label_map.label_map.items()
    }
    mapping = {value: pairs.get(value, 0) for value in source.names.values()}
    ignored = set(target.names.values()) - set(pairs.values())
    return SharedLabels(mapping, tuple(sorted(ignored)))


def _check_known(names: Iterable[str], known: LabelSet, side: str) -> None:
    for name in names:
        if name not in known.names:
            raise SettingsError(
                f"label map: the {side} has no label {name}", f"{nearest(name, list(known.names))}."
            )


def _twice(names: Iterable[str]) -> str | None:
    found: set[str] = set()
    for name in names:
        if name in found:
            return name
        found.add(name)
    return None


def within_target(label_map: LabelMap, target: LabelSet) -> LabelMap:
    """The map for a network of the target itself, which is to be scored by the same labels."""
    return LabelMap(
        source=dict(target.names), label_map={name: name for name in label_map.label_map}
    )
