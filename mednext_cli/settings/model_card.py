"""The card of a trained model: what it is for, what it was made from, and how good it is."""

from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, Field, ValidationError

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.foundation.files import read_toml, write_text
from mednext_cli.foundation.names import shown, steers
from mednext_cli.settings.labels import LabelValue
from mednext_cli.settings.plan import Millimetres, Plan
from mednext_cli.settings.values import MOST_CHANNELS, Count, Frozen, Name, NotNegative

CARD_NAME = "card.toml"
NOT_STATED = "not stated"
_LONGEST_TEXT = 2000
_MOST = 1000


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("an empty text")
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"{len(text)} characters, more than {_LONGEST_TEXT}")
    if steers(text):
        raise ValueError(f"{shown(text)} holds a control character")
    return text


Text = Annotated[str, AfterValidator(_text)]
Share = Annotated[NotNegative, Field(le=1.0)]


class CardData(Frozen):
    """What a model was trained on.

    Attributes:
        name: of the dataset.
        licence: of the dataset, as SPDX writes it where it can.
        cases: that were trained on.
        source: where the dataset is to be had.
        attribution: what its licence asks to be said.
    """

    name: Name
    licence: Text
    cases: Count | None = None
    source: Text | None = None
    attribution: Text | None = None


class CardTraining(Frozen):
    """How a model was trained.

    Attributes:
        how: for people: the commands, and what they do not say.
        network: its label, like S-k3.
        recipe: name of a shipped recipe.
        iterations: steps.
        minutes: of these steps, as `how` says measured.
    """

    how: Text
    network: Name | None = None
    recipe: Name | None = None
    iterations: Count | None = None
    minutes: NotNegative | None = None


class CardScore(Frozen):
    """One score, and what it is worth.

    Attributes:
        structure: label or region.
        dice: mean over the cases, 0 to 1.
        of: cases that the scored weights were not trained on, or those that they were.
        cases: how many.
        weights: these ones, or those of another run, as of a fold where these had all cases.
        how: with what command, and how the other run was trained, for people.
    """

    structure: Name
    dice: Share
    of: Literal["held-out cases", "training cases"]
    cases: Count
    weights: Literal["these", "another run"] = "these"
    how: Text


class ModelCard(Frozen):
    """What somebody has to know before using a model.

    Attributes:
        description: one sentence.
        licence: of the weights, as SPDX writes it where it can.
        intended_use: what it is for.
        limits: what it is not for, and where it fails.
        spacing_mm: (D, H, W), what scans are resampled to.
        channels: of a scan, in order.
        classes: label value by name.
        data: what it was trained on.
        training: how.
        scores: none where none was measured.
    """

    version: Literal[1] = 1
    description: Text
    licence: Text
    intended_use: Text
    limits: Annotated[tuple[Text, ...], Field(min_length=1, max_length=_MOST)]
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    channels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_CHANNELS)]
    classes: Annotated[dict[Name, LabelValue], Field(min_length=1, max_length=_MOST)]
    data: CardData
    training: CardTraining
    scores: Annotated[tuple[CardScore, ...], Field(max_length=_MOST)] = ()

    @property
    def held_out_dice(self) -> float | None:
        """Mean over the structures, of these weights; None where none was measured."""
        measured = [score for score in self.scores if score.weights == "these"]
        dice = [score.dice for score in measured if score.of == "held-out cases"]
        return sum(dice) / len(dice) if dice else None

    def check(self, plan: Plan, path: Path) -> None:
        """Refuse a card that is of another model.

        Args:
            plan: of the model.
            path: of the card.

        Raises:
            CheckpointError: it contradicts the plan.
        """
        pairs = {
            "spacing_mm": (self.spacing_mm, plan.spacing_mm),
            "channels": (self.channels, plan.channels),
            "classes": (self.classes, dict(plan.label_set.names)),
        }
        for what, (said, planned) in pairs.items():
            if said != planned:
                raise CheckpointError(
                    f"{path} is not the card of these weights: its {what} are {shown(said)}, "
                    f"theirs {shown(planned)}",
                    "Correct the card, or take another copy of the model.",
                )


def read_card(path: Path) -> ModelCard:
    """Read a card.

    Raises:
        SettingsError: missing, no TOML, or without what a card has to say; all that is wrong.
    """
    values = read_toml(path)
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise SettingsError(
            f"{path} is no card of a model: {_problems(error)}",
            "docs/models.md says what a card holds.",
        ) from error


def write_card(path: Path, card: ModelCard) -> None:
    """Write it as TOML; raises `StorageError` where the disk refuses."""
    write_text(path, tomli_w.dumps(card.model_dump(mode="json", exclude_none=True)))


def unstated_card(plan: Plan, training: CardTraining, cases: int | None) -> ModelCard:
    """A card of what a checkpoint says by itself; the rest is "not stated"."""
    return ModelCard(
        description=f"Trained on {plan.dataset}",
        licence=NOT_STATED,
        intended_use=NOT_STATED,
        limits=(NOT_STATED,),
        spacing_mm=plan.spacing_mm,
        channels=plan.channels,
        classes=dict(plan.label_set.names),
        data=CardData(name=plan.dataset, licence=NOT_STATED, cases=cases),
        training=training,
    )


def _problems(error: ValidationError) -> str:
    """All of them, ``entry: why`` each."""
    texts = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        key = shown(".".join(map(str, fault["loc"]))).strip("'\"")
        unknown = fault["type"] == "extra_forbidden"
        message = "there is no such entry" if unknown else fault["msg"]
        texts.append(f"{key}: {message.removeprefix('Value error, ')}")
    return "; ".join(texts)
