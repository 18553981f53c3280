"""Kernels that grow from training to training: 3, then 5 from it by UpKern, then 7."""

import logging
from dataclasses import dataclass, replace

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.choice import choose_network, with_settings
from mednext_cli.networks.upkern import check_kernel, parse_kernel
from mednext_cli.settings.recipe import InitSettings, Recipe
from mednext_cli.training.cross_validation import (
    CrossValidationResult,
    CrossValidationSpec,
    choose_folds,
    cross_validate,
    raise_failed_folds,
)
from mednext_cli.training.train import TrainSpec, check_run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GrowKernelsSpec:
    """Which kernels to train one after the other, and how.

    Attributes:
        run: of every training, whose recipe gets each kernel in turn; what it says of the first
            weights is of the first training's.
        kernels: voxels, each larger than the one before.
        folds: see `CrossValidationSpec`; each fold begins from the same fold.
    """

    run: TrainSpec
    kernels: tuple[int, ...]
    folds: tuple[str, ...] | None = None


@dataclass(frozen=True)
class GrowKernelsResult:
    """What became of the folds of each kernel.

    Attributes:
        stages: as far as there was a fold to go on with.
        total: folds of all kernels.
    """

    stages: tuple[CrossValidationResult, ...]
    total: int

    def raise_failed(self) -> None:
        """Raise `FailedCases` if some folds failed."""
        failed = [outcome for stage in self.stages for outcome in stage.failed.values()]
        raise_failed_folds(failed, self.total)


def parse_kernels(text: str) -> tuple[int, ...]:
    """The kernels in ``3,5,7``.

    Raises:
        SettingsError: not kernels.
    """
    return tuple(parse_kernel(part.strip()) for part in text.split(","))


def grow_kernels(spec: GrowKernelsSpec) -> GrowKernelsResult:
    """Train with the first kernel, then each larger one from it by UpKern, all in full.

    Each training is a run of its own, and goes on where it stopped. A fold that fails is not grown
    further; the others are, see `GrowKernelsResult.raise_failed`.

    Raises:
        CacheError, SettingsError: as `train`, of any of the trainings before the first begins.
        CheckpointError: the run's weights cannot become larger, see `training.initialise`.
        StorageError: the disk refuses.
        KeyboardInterrupt: interrupted; the same call carries on.
    """
    runs = [replace(spec.run, recipe=_with_kernel(spec, kernel)) for kernel in _checked(spec)]
    folds = choose_folds(CrossValidationSpec(spec.run, spec.folds))
    total = len(folds) * len(runs)
    for run in runs:
        for fold in folds:
            check_run(replace(run, fold=fold))
    stages: list[CrossValidationResult] = []
    for kernel, run in zip(spec.kernels, runs, strict=True):
        logger.info("kernel %d of %s", kernel, ", ".join(map(str, spec.kernels)))
        stages.append(cross_validate(CrossValidationSpec(_begun_from(stages, run), folds)))
        folds = tuple(stages[-1].runs)
        if not folds:
            break
    return GrowKernelsResult(tuple(stages), total)


def _checked(spec: GrowKernelsSpec) -> tuple[int, ...]:
    for kernel in spec.kernels:
        check_kernel(kernel)
    if list(spec.kernels) != sorted(set(spec.kernels)):
        raise SettingsError(
            f"kernels {', '.join(map(str, spec.kernels))} do not grow", "Like --kernel 3,5,7."
        )
    return spec.kernels


def _with_kernel(spec: GrowKernelsSpec, kernel: int) -> Recipe:
    chosen = choose_network(spec.run.recipe.model)
    if not chosen.family.kernels(chosen.settings):
        raise SettingsError(
            f"network {chosen.label} has no kernels to grow", "Give one --kernel, or none."
        )
    return with_settings(spec.run.recipe, chosen.family.with_kernel(chosen.settings, kernel))


def _begun_from(stages: list[CrossValidationResult], run: TrainSpec) -> TrainSpec:
    """The run with the weights of the last stage, of each fold those of the same fold."""
    if not stages:
        return run
    init = InitSettings(upkern=str(stages[-1].folder))
    return replace(run, recipe=run.recipe.model_copy(update={"init": init}), init=None)
