"""The trained networks a prediction is made with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.foundation.files import hash_file
from mednext_cli.inference.folds import check_folds, find_checkpoints
from mednext_cli.inference.options import Folds, check_axes, check_member_weights
from mednext_cli.networks.checkpoint import Checkpoint
from mednext_cli.settings.mirror_axes import AXES, Axis
from mednext_cli.settings.model_card import CARD_NAME, read_card
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import LARGEST_OVERLAP, AugmentationSettings, Recipe

_SHARED = (
    *("channels", "normalisation", "spacing_mm"),
    *("label_set.names", "label_set.regions"),
    *("label_set.region_training", "label_set.region_values", "label_set.outputs"),
)
logger = logging.getLogger(__name__)
# Of a checkpoint without one: what mirrorings it was trained on is not known.
_NO_RECIPE = Recipe(augmentation=AugmentationSettings(mirror_axes=()))


@dataclass(frozen=True)
class Model:
    """A checkpoint and what it says about prediction.

    Attributes:
        path: the checkpoint file.
        sha256: of the file.
        mirror_axes: axes of (D, H, W) it was trained to be indifferent to.
        mirror: whether its recipe predicts with mirroring.
        overlap: of its recipe's sliding window.
        weight: in the average with others.
    """

    path: Path
    sha256: str
    checkpoint: Checkpoint
    plan: Plan
    mirror_axes: tuple[int, ...]
    mirror: bool
    overlap: float
    weight: float = 1.0

    @property
    def mirrored(self) -> tuple[int, ...]:
        """Axes of (D, H, W) to average mirrorings over."""
        return self.mirror_axes if self.mirror else ()

    @property
    def graph_patch(self) -> tuple[int, int, int]:
        """The patch (D, H, W) of exported graphs: the plan's, or the next that these take."""
        return self.checkpoint.network.patch_rule.hold(self.plan.patch_voxels)

    def asked(
        self,
        overlap: float | None = None,
        mirror: bool | None = None,
        mirror_axes: Sequence[Axis] | None = None,
    ) -> "Model":
        """The model as somebody wants it to predict; None leaves it as its recipe has it.

        Args:
            overlap: of its tiles.
            mirror: whether mirrored images are averaged.
            mirror_axes: along these, whatever it was trained with; that is said where it differs.

        Raises:
            SettingsError: tiles cannot overlap so much, or axes to mirror along without mirroring.
        """
        if overlap is not None and not 0 <= overlap <= LARGEST_OVERLAP:  # or no number at all
            raise SettingsError(
                f"--overlap {overlap} is not between 0 and {LARGEST_OVERLAP}", "Give --overlap 0.5."
            )
        made = replace(
            self,
            overlap=self.overlap if overlap is None else overlap,
            mirror=self.mirror if mirror is None else mirror,
        )
        return made if mirror_axes is None else made._mirrored_along(mirror_axes, mirror)

    def _mirrored_along(self, axes: Sequence[Axis], mirror: bool | None) -> "Model":
        if mirror is False:
            raise SettingsError("--mirror-axes with --no-mirror", "Drop one of them.")
        check_axes(axes)
        wanted = tuple(sorted(AXES.index(axis) for axis in set(axes)))
        if strange := [AXES[axis] for axis in wanted if axis not in self.mirror_axes]:
            logger.warning("%s was not trained mirrored along %s", self.path, ", ".join(strange))
        return replace(self, mirror_axes=wanted, mirror=True)


def load_models(
    paths: Sequence[Path], folds: Folds | None = None, weights: Sequence[float] | None = None
) -> list[Model]:
    """Load run folders' and files' checkpoints, all for the same task.

    Args:
        paths: checkpoint files, run folders (``S-k3/fold0``), or folders of run folders
            (``S-k3``), which give all their folds.
        folds: of folders of run folders, those to take; None takes all.
        weights: of each path in the average, shared evenly by its folds; None weighs all
            checkpoints alike.

    Raises:
        CheckpointError: no usable checkpoint, one without a plan (imported weights), a folder of
            run folders in which one is missing or not finished, or a card of other weights.
        SettingsError: the checkpoints cannot be averaged, there are no folds to choose from, not
            as many weights as paths, or a folder's card is damaged.
    """
    check_folds(paths, folds)
    check_member_weights(weights, len(paths))
    models = []
    for index, path in enumerate(paths):
        every = find_checkpoints(path, folds)
        weight = 1.0 if weights is None else weights[index] / len(every)
        described = [_describe(found.path, found.checkpoint, weight) for found in every]
        _check_card(path, described)
        models += described
    check_same_task(models)
    return models


def _check_card(path: Path, models: Sequence[Model]) -> None:
    """Refuse a folder whose card is damaged or that of other weights."""
    card = path / CARD_NAME
    if card.is_file():
        read = read_card(card)
        for model in models:
            read.check(model.plan, card)


def _describe(file: Path, checkpoint: Checkpoint, weight: float) -> Model:
    plan, recipe = checkpoint.plan, checkpoint.recipe or _NO_RECIPE
    if plan is None:
        raise CheckpointError(
            f"{file} does not say how its images are prepared (imported weights do not)",
            "Fine-tune it with mednext train --init, or predict with a run of mednext train.",
        )
    return Model(
        path=file,
        sha256=hash_file(file),
        checkpoint=checkpoint,
        plan=plan,
        mirror_axes=recipe.augmentation.mirrored,
        mirror=recipe.inference.mirror,
        overlap=recipe.inference.overlap,
        weight=weight,
    )


def check_same_task(models: list[Model]) -> None:
    """Raise `SettingsError` unless all models see the same images and predict the same labels."""
    first = models[0]
    for other in models[1:]:
        for name in _SHARED:
            ours, theirs = attrgetter(name)(first.plan), attrgetter(name)(other.plan)
            if ours != theirs:
                raise SettingsError(
                    f"{first.path} and {other.path} cannot be averaged: their {name} differ "
                    f"({_short(ours)} and {_short(theirs)})",
                    "Predict with each into a folder of its own.",
                )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
