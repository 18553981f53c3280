"""Random patches from a cache: every sample is decided by the seed and its number alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mednext_cli.settings.plan import Plan
from mednext_cli.settings.recipe import AugmentationSettings, Recipe
from mednext_cli.training.augmentation.affine import Box
from mednext_cli.training.augmentation.batch import Augmentation, cut_patch, whole_patch
from mednext_cli.training.augmentation.planes import Planes, choose_planes
from mednext_cli.training.batches import Batch, ReadSample
from mednext_cli.training.case_voxels import CaseMemory, CaseVoxels, OwnMemory
from mednext_cli.training.shared_cases import SharedCases
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
        batch_size: patches a step, by which those that are centred on foreground are counted.
        oversample_foreground: share of each batch centred on a voxel of a random foreground class.
        augmentation: None leaves the patches as they are.
        seed: with the sample's number it decides everything about the sample.
        in_memory: keep every case's voxels in memory once read.
        masked_channels: channels that augmentation leaves 0 outside the non-zero mask.
        turn: images are turned so before patches are cut from them.
        ignore: class index of what nobody annotated; None where all is.
        planes: that augmentation leaves voxels in; None for all directions.
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
    ignore: int | None = None
    planes: Planes | None = None


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
        in_memory=in_memory and training,  # of the others the patches are kept
        masked_channels=tuple(masked),
        turn=plan.turn,
        ignore=plan.ignore_index,
        planes=choose_planes(
            recipe.augmentation, plan.patch_voxels, plan.turn.triple(plan.spacing_mm)
        ),
    )


class PatchDataset:
    """Sample `number` is image (C, D, H, W), of the cache's type, and labels (D, H, W) uint8.

    The last ``round(batch_size * share)`` samples of a batch are centred on foreground, as in
    nnU-Net (of batches of one, that share); a case without foreground gives a random patch. With an
    ignore label all others are centred on a voxel that is annotated, as in nnU-Net v2. What
    augments a sample is drawn before it is read, so that no voxel is read that is not needed.

    Args:
        spec: what to draw.
        memory: where whole cases are kept, where the spec says so; left out, each process has a
            memory of its own.
    """

    def __init__(self, spec: SamplingSpec, memory: CaseMemory | None = None) -> None:
        self.spec = spec
        kept = (memory or OwnMemory()) if spec.in_memory else None
        self._voxels = CaseVoxels(spec.cache, spec.turn, kept)
        self.augment = (
            Augmentation(
                spec.patch_voxels, spec.augmentation, spec.masked_channels, spec.turn, spec.planes
            )
            if spec.augmentation
            else None
        )

    def batch(self, numbers: Sequence[int]) -> Batch:
        """The samples of these numbers, augmented if the spec says so."""
        samples = self.read(numbers)
        if self.augment is not None:
            return self.augment(samples)
        patches = [cut_patch(sample, self.spec.patch_voxels) for sample in samples]
        images, labels = zip(*patches, strict=True)
        return torch.stack(images), torch.stack(labels)

    def sharing_cases(self) -> "PatchDataset":
        """The same samples of cases that are kept once for all processes that are given this."""
        if not self.spec.in_memory:
            return self
        return PatchDataset(self.spec, SharedCases(self._voxels, self.spec.case_ids))

    def read(self, numbers: Sequence[int]) -> list[ReadSample]:
        """What these samples need of their cases, as cached."""
        return [self._read(number) for number in numbers]

    def case_of(self, number: int) -> str:
        """The id of the case that sample `number` is taken from."""
        return self._draw_case(self._random(number))

    def _read(self, number: int) -> ReadSample:
        random = self._random(number)
        case_id = self._draw_case(random)
        centre = self._centre(case_id, number, random)
        seed = int(random.integers(2**31))
        first = centre - np.asarray(self.spec.patch_voxels) // 2
        inside = _clip(self._needed(case_id, seed), first, self._voxels.shape(case_id))
        image, label = map(torch.from_numpy, self._voxels.part(case_id, inside))
        corner = [int(part.start - start) for part, start in zip(inside, first, strict=True)]
        return ReadSample(image, label, (corner[0], corner[1], corner[2]), seed)

    def _needed(self, case_id: str, seed: int) -> Box:
        if self.augment is None:
            return whole_patch(self.spec.patch_voxels)
        return self.augment.needed(seed, self._voxels.channels(case_id))

    def _random(self, number: int) -> np.random.Generator:
        # One generator seeds all others, so that neighbouring numbers are not correlated.
        return np.random.default_rng((self.spec.seed, number))

    def _draw_case(self, random: np.random.Generator) -> str:
        return self.spec.case_ids[random.integers(len(self.spec.case_ids))]

    def _centre(
        self, case_id: str, number: int, random: np.random.Generator
    ) -> NDArray[np.integer]:
        """Centre voxel of the patch: on one of these voxels, or anywhere the patch still fits."""
        shape = np.asarray(self._voxels.shape(case_id))
        patch = np.asarray(self.spec.patch_voxels)
        low = np.minimum(patch // 2, shape // 2)
        high = np.maximum(shape - (patch - patch // 2), low)
        voxels = self._voxels_to_hold(case_id, number, random)
        if voxels is not None:
            chosen: NDArray[np.integer] = voxels[random.integers(len(voxels))]
            return np.clip(chosen.astype(np.int64), low, high)
        anywhere: NDArray[np.integer] = random.integers(low, high + 1)
        return anywhere

    def _voxels_to_hold(
        self, case_id: str, number: int, random: np.random.Generator
    ) -> NDArray[np.integer] | None:
        """Of which (n, 3) the patch is to hold one: of a class, or of all that is annotated."""
        if self._is_forced(number, random) and (points := self._voxels.foreground(case_id)):
            classes = sorted(points)
            return points[classes[random.integers(len(classes))]]
        if self.spec.ignore is None:
            return None
        annotated = self._voxels.annotated(case_id, self.spec.ignore)
        return annotated if len(annotated) else None

    def _is_forced(self, number: int, random: np.random.Generator) -> bool:
        size, share = self.spec.batch_size, self.spec.oversample_foreground
        if size == 1:  # rounding would mean always or never
            return bool(random.random() < share)
        return number % size >= math.floor(size * (1 - share) + 0.5)


def _clip(box: Box, first: NDArray[np.integer], shape: Sequence[int]) -> tuple[slice, ...]:
    """The part of the case that lies within the box of a patch whose first voxel is `first`."""
    return tuple(
        slice(max(0, int(at) + start), max(0, min(int(at) + stop, length)))
        for at, start, stop, length in zip(first, box.start, box.stop, shape, strict=True)
    )
