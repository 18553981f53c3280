"""Cached cases that a network in fewer bits is fitted to, and those it is measured on."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mednext_cli.cache.reader import CachedCase, CachedDataset
from mednext_cli.evaluation.metrics.overlap import map_classes
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.average import NetworkAverage
from mednext_cli.inference.models import Model
from mednext_cli.preprocessing.restore import label_map_of
from mednext_cli.settings.plan import Plan
from mednext_cli.training.splits import Split

Array = NDArray[np.float32]
_PATCHES = 32
_SEED = 0


def cases_of_fold(model: Model, cached: CachedDataset) -> Split:
    """The cases that a run was trained on, and those that it was validated on.

    Raises:
        SettingsError: the checkpoint does not say, there are none to validate on, or the cache has
            not the ones it was trained on.
        CacheError: a case's file is missing or damaged.
    """
    origin = model.checkpoint.origin
    if origin is None or not origin.training_cases:
        raise SettingsError(
            f"{model.path} does not say which cases it was trained on",
            "Give a run of mednext train.",
        )
    if not origin.validation_cases:
        raise SettingsError(
            f"{model.path} was trained on every case: there is none to measure int8 on",
            "Give the run of a fold, such as fold0.",
        )
    cases = (*origin.training_cases, *origin.validation_cases)
    remedy = "Give --calibrate the cache that it was trained from."
    for name in cases:
        if name not in cached.labelled_ids:
            raise SettingsError(f"{cached.folder} lacks {name}, a case of {model.path}", remedy)
    known = origin.case_keys or {}
    for name, key in cached.keys(cases).items():
        if known.get(name, key) != key:
            raise SettingsError(
                f"{name} in {cached.folder} is not what {model.path} was trained with", remedy
            )
    return Split(origin.training_cases, origin.validation_cases)


def draw_patches(model: Model, cached: CachedDataset, case_ids: Sequence[str]) -> list[Array]:
    """Patches (1, C, D, H, W) as the network sees them: half around a structure, half anywhere.

    The same each time. Of few cases several each, of many one.

    Args:
        model: tells of the patch.
        cached: the cases' cache.
        case_ids: of the cases to draw from.
    """
    random = np.random.default_rng(_SEED)
    names = [str(name) for name in random.permutation(sorted(case_ids))[:_PATCHES]]
    drawn = []
    for number, name in enumerate(names):
        case = cached.case(name)
        image = model.plan.turn.array(case.read_image())
        for index in range(number, _PATCHES, len(names)):
            centre = _centre(random, case, model.plan, index % 2 == 0)
            drawn.append(_cut(image, centre, model.graph_patch))
    return drawn


def _centre(
    random: np.random.Generator, case: CachedCase, plan: Plan, inside: bool
) -> NDArray[np.int64]:
    """A voxel (3,) of the turned image."""
    classes = [voxels for _, voxels in sorted(case.foreground.items()) if len(voxels)]
    if inside and classes:
        voxels = classes[random.integers(len(classes))]
        chosen = voxels[random.integers(len(voxels))][np.newaxis]
        return np.asarray(plan.turn.columns(chosen)[0], dtype=np.int64)
    return random.integers(plan.turn.triple(case.image_shape[1:]))


def _cut(image: Array, centre: NDArray[np.int64], patch: Sequence[int]) -> Array:
    """The patch (1, C, D, H, W) around a voxel, within the image, or with zeros beyond it."""
    shape = np.array(image.shape[1:])
    start = np.clip(centre - np.array(patch) // 2, 0, np.maximum(shape - patch, 0))
    stop = np.minimum(start + patch, shape)
    made = np.zeros((1, len(image), *patch), dtype=np.float32)
    (depth, height, width), (front, bottom, left), (back, top, right) = stop - start, start, stop
    cut = image[:, front:back, bottom:top, left:right]
    made[0, :, :depth, :height, :width] = cut
    return made


def measure_dice(
    networks: NetworkAverage,
    cached: CachedDataset,
    case_ids: Sequence[str],
    advance: Callable[[str], None],
) -> dict[str, float]:
    """Mean Dice by region over cases, on the prepared grid; a region that no case has is left out.

    Args:
        networks: what predicts.
        cached: the cases' cache.
        case_ids: of the cases.
        advance: told of each case that is done.
    """
    labels = networks.plan.label_set
    values = np.array(labels.values)
    ignored = () if labels.ignore is None else (labels.ignore,)
    found: dict[str, list[float]] = {}
    for name in case_ids:
        case = cached.case(name)
        reference = values[case.read_label()]
        predicted = np.zeros_like(reference)
        for box, scores in networks.predict(case.read_image(), name):
            predicted[box] = label_map_of(iter(scores), labels)
            del scores  # before the next are made
        maps = map_classes(reference, predicted, ignored)
        for region, members in labels.regions.items():
            counts = maps.count(members)
            if counts.reference:
                dice = 2 * counts.true_positives / (counts.reference + counts.prediction)
                found.setdefault(region, []).append(dice)
        advance(name)
    return {region: float(np.mean(dice)) for region, dice in found.items()}
