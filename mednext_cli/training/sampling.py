"""Random patches from a cache: every sample is decided by the seed and its number alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import AugmentationSettings, Recipe
from mednext_cli.training.augmentation.batch import Augmentation
from mednext_cli.training.batches import Batch, SeededBatch
from mednext_cli.training.splits import Split
from mednext_cli.volumes.turning import UNTURNED, Turn

_VALIDATION_SEED = 1  # added to the run's seed


@dataclass(frozen=True)
class SamplingSpec:
    """What to draw.

    Attributes:
        cache: the dataset's cache folder.
        case_ids: the cases to draw from, uniformly with replacement.
        patch_voxels: (D, H, W) of the turned image.
        batch_size: patches a batch.
        oversample_foreground: share of each batch centred on a voxel of a random foreground class.
        augmentation: None leaves the patches as they are.
        seed: with the sample's number it decides everything about the sample.
        in_memory: keep every case's voxels in memory once read.
        masked_channels: channels that augmentation leaves 0 outside the non-zero mask.
        turn: images are turned so before patches are cut from them.
    """

    cache: Path
    case_ids: tuple[str, ...]
    patch_voxels: tuple[int, int, int]
    batch_size: int
    oversample_foreground: float
    augmentation: AugmentationSettings | None
    seed: int
    in_memory: bool
    masked_channels: tuple[int, ...] = ()
    turn: Turn = UNTURNED


def describe_sampling(
    recipe: Recipe, plan: Plan, cache: Path, split: Split, training: bool, in_memory: bool
) -> SamplingSpec:
    """What a recipe draws from one side of a split; for validation not augmented.

    Args:
        recipe: of the run.
        plan: with the patch and batch of the run.
        cache: the dataset's cache folder.
        split: the fold's cases.
        training: whether to train on the patches, or to validate with them.
        in_memory: keep every case's voxels in memory once read.
    """
    settings = recipe.training
    masked = (index for index, channel in enumerate(plan.normalisation) if channel.use_nonzero_mask)
    return SamplingSpec(
        cache=cache,
        case_ids=split.training if training else split.validation,
        patch_voxels=plan.patch_voxels,
        batch_size=plan.batch_size,
        oversample_foreground=settings.oversample_foreground,
        augmentation=recipe.augmentation if training else None,
        seed=settings.seed if training else settings.seed + _VALIDATION_SEED,
        in_memory=in_memory,
        masked_channels=tuple(masked),
        turn=plan.turn,
    )


class PatchDataset:
    """Sample `number` is image (C, D, H, W) float32 and labels (D, H, W) uint8 class indices.

    The last ``round(batch_size * share)`` samples of a batch are centred on foreground, as in
    nnU-Net (of batches of one, that share); a case without foreground gives a random patch.
    """

    def __init__(self, spec: SamplingSpec) -> None:
        self._spec = spec
        self._cached: CachedDataset | None = None
        self._memory: dict[str, tuple[NDArray[np.float32], NDArray[np.uint8]]] = {}
        self._foreground: dict[str, Mapping[int, NDArray[np.integer]]] = {}
        self._augment = (
            Augmentation(spec.patch_voxels, spec.augmentation, spec.masked_channels, spec.turn)
            if spec.augmentation
            else None
        )
        read = self._augment.read_voxels if self._augment else spec.patch_voxels
        self._read_voxels = np.asarray(read)

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The samples of these numbers, augmented if the spec says so."""
        read = self.read(numbers)
        return (read.images, read.labels) if self._augment is None else self._augment(read)

    def read(self, numbers: Sequence[int]) -> SeededBatch:
        """The samples of these numbers as they are cached."""
        samples = [self._sample(number) for number in numbers]
        images, labels, seeds = zip(*samples, strict=True)
        return SeededBatch(
            torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels)), seeds
        )

    def _sample(self, number: int) -> tuple[NDArray[np.float32], NDArray[np.uint8], int]:
        random = self._random(number)
        case_id = self._draw_case(random)
        image, label = self._read(case_id, self._centre(case_id, number, random))
        return image, label, int(random.integers(2**31))

    def case_of(self, number: int) -> str:
        """The id of the case that sample `number` is taken from."""
        return self._draw_case(self._random(number))

    def _random(self, number: int) -> np.random.Generator:
        # One generator seeds all others, so that neighbouring numbers are not correlated.
        return np.random.default_rng((self._spec.seed, number))

    def _draw_case(self, random: np.random.Generator) -> str:
        return self._spec.case_ids[random.integers(len(self._spec.case_ids))]

    def _centre(
        self, case_id: str, number: int, random: np.random.Generator
    ) -> NDArray[np.integer]:
        """Centre voxel of the patch: on foreground, or anywhere the patch still fits."""
        shape = np.asarray(self._shape(case_id))
        patch = np.asarray(self._spec.patch_voxels)
        low = np.minimum(patch // 2, shape // 2)
        high = np.maximum(shape - (patch - patch // 2), low)
        if self._is_forced(number, random) and (points := self._points(case_id)):
            classes = sorted(points)
            voxels = points[classes[random.integers(len(classes))]]
            chosen: NDArray[np.integer] = voxels[random.integers(len(voxels))]
            return np.clip(chosen.astype(np.int64), low, high)
        anywhere: NDArray[np.integer] = random.integers(low, high + 1)
        return anywhere

    def _is_forced(self, number: int, random: np.random.Generator) -> bool:
        size, share = self._spec.batch_size, self._spec.oversample_foreground
        if size == 1:  # rounding would mean always or never
            return bool(random.random() < share)
        return number % size >= math.floor(size * (1 - share) + 0.5)

    def _read(
        self, case_id: str, centre: NDArray[np.integer]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The enlarged patch around `centre`, zeros where it leaves the case."""
        start = centre - self._read_voxels // 2
        stop = start + self._read_voxels
        shape = np.asarray(self._shape(case_id))
        inside = tuple(
            slice(max(0, int(a)), max(0, min(int(b), int(n))))
            for a, b, n in zip(start, stop, shape, strict=True)
        )
        image, label = self._voxels(case_id, inside)
        before = [int(part.start - a) for part, a in zip(inside, start, strict=True)]
        place = tuple(
            slice(gap, gap + length) for gap, length in zip(before, label.shape, strict=True)
        )
        whole_image = np.zeros((len(image), *self._read_voxels), dtype=np.float32)
        whole_label = np.zeros(tuple(self._read_voxels), dtype=np.uint8)
        whole_image[(slice(None), *place)] = image
        whole_label[place] = label
        return whole_image, whole_label

    def _voxels(
        self, case_id: str, inside: tuple[slice, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Of the part `inside` the turned image."""
        if not self._spec.in_memory:
            return self._read_turned(case_id, self._spec.turn.triple_back(inside))
        if case_id not in self._memory:
            self._memory[case_id] = self._read_turned(case_id, None)
        image, label = self._memory[case_id]
        return image[(slice(None), *inside)], label[inside]

    def _read_turned(
        self, case_id: str, part: tuple[slice, ...] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A part of (D, H, W), or all of it."""
        case, turn = self._dataset().case(case_id), self._spec.turn
        return turn.array(case.read_image(part)), turn.array(case.read_label(part))

    def _shape(self, case_id: str) -> Sequence[int]:
        return self._spec.turn.triple(self._dataset().case(case_id).image_shape[1:])

    def _points(self, case_id: str) -> Mapping[int, NDArray[np.integer]]:
        if case_id not in self._foreground:
            found = self._dataset().case(case_id).foreground
            self._foreground[case_id] = {
                index: self._spec.turn.columns(at) for index, at in found.items() if len(at)
            }
        return self._foreground[case_id]

    def _dataset(self) -> CachedDataset:
        """Opened in the process that reads: HDF5 handles must not cross processes."""
        if self._cached is None:
            self._cached = open_cache(self._spec.cache)
        return self._cached
