"""What is known of the models that have a name."""

from collections.abc import Iterator
from dataclasses import dataclass

from mednext_cli.foundation.errors import MednextError
from mednext_cli.foundation.plugin_check import check_strangers
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.inference.catalogue.names import KIND, FoundModel, find_model, model_names
from mednext_cli.settings.flat import flatten
from mednext_cli.settings.model_card import CARD_NAME, ModelCard, read_card

Row = dict[str, object]


@dataclass(frozen=True)
class Listing:
    """All models.

    Attributes:
        rows: of `columns.MODELS`, one a model that can be used.
        passed_over: why each of the others cannot, a line each.
    """

    rows: tuple[Row, ...]
    passed_over: tuple[str, ...]


def list_models() -> Listing:
    """Read the cards of all models; weights are not looked at."""
    rows, passed_over = [], list(_refused())
    broken = check_strangers(KIND)
    for name in model_names():
        if broken.get(name) and name in find_plugins(KIND):
            passed_over.append(f"the model {name} is passed over: {broken[name]}")
            continue
        try:
            found = find_model(name)
            rows.append(_row(found, read_card(found.folder / CARD_NAME)))
        except MednextError as error:
            passed_over.append(f"the model {name} is passed over: {error.message}")
    return Listing(tuple(rows), tuple(passed_over))


def _refused() -> Iterator[str]:
    """Packages' models whose name is taken."""
    for plugin in find_plugins(KIND).values():
        if plugin.refused:
            yield f"the model {plugin.name} of {plugin.distribution}: {plugin.refused}"


def _row(found: FoundModel, card: ModelCard) -> Row:
    return {
        "model": found.name,
        "source": found.source,
        "description": card.description,
        "channels": _joined(card.channels),
        "classes": _joined(card.classes),
        "spacing_mm": _joined(card.spacing_mm),
        "held_out_dice": card.held_out_dice,
        "licence": card.licence,
    }


def show_model(name: str) -> list[Row]:
    """The rows of `columns.MODEL_CARD` about one model.

    Raises:
        CheckpointError: there is none of that name. SettingsError: its card is damaged.
        PluginError: its package does not load.
    """
    found = find_model(name)
    card = read_card(found.folder / CARD_NAME)
    values = card.model_dump(mode="json", exclude_none=True, exclude={"version", "scores"})
    facts: list[tuple[str, object]] = [
        ("model", found.name),
        ("source", found.source),
        ("folder", str(found.folder)),
    ]
    for key, value in flatten(values).items():
        if key == "limits":
            facts += [(key, limit) for limit in value]
        else:
            facts.append((key, _joined(value) if isinstance(value, list) else value))
    for score in card.scores:
        whose = f"{score.cases} {score.of}, {score.weights}"
        facts.append((f"dice {score.structure} ({whose})", score.dice))
    for how in dict.fromkeys(score.how for score in card.scores):
        facts.append(("dice measured", how))
    return [{"what": what, "value": value} for what, value in facts]


def _joined(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list | tuple | dict) else str(values)
