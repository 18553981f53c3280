"""Start from the weights of another run: the same network, UpKern, or fine-tuning."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from mednext_cli.foundation.errors import CheckpointError, SettingsError
from mednext_cli.foundation.files import hash_file
from mednext_cli.inference.catalogue.names import model_path, resolve_model
from mednext_cli.networks.building import hash_weights
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.networks.upkern import grow_to
from mednext_cli.settings.growth import Growth
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import InitSettings
from mednext_cli.training.run_folder import RunFolder

logger = logging.getLogger(__name__)
_MAY_DIFFER = {"out_channels", "deep_supervision"}  # the heads, which are then learnt anew


@dataclass(frozen=True)
class Start:
    """Which weights a run begins with.

    Attributes:
        path: a checkpoint, the folder of a run, the folder that holds runs of several folds, or a
            name of ``mednext models ls``.
        fold: of the run, by which one of several is taken.
        growth: how smaller kernels grow; None where the kernels must be the network's own.
        is_option: whether `--init` names it, else the recipe does.
    """

    path: Path
    fold: str
    growth: Growth | None = None
    is_option: bool = False

    @property
    def file(self) -> Path:
        """The checkpoint; it need not be there, of a folder is the last one of a run."""
        path = model_path(self.path)
        of_fold = path / f"fold{self.fold}"
        if not path.is_dir():
            return path
        run = RunFolder(of_fold if of_fold.is_dir() else path)
        return run.best if run.best.is_file() and not run.last.is_file() else run.last


def choose_start(option: Path | None, init: InitSettings, fold: str) -> Start | None:
    """What `--init` or the recipe's `[init]` say a run begins with; None draws its weights.

    Raises:
        SettingsError: both say something.
    """
    if option is not None and init.path is not None:
        raise SettingsError(
            f"--init {option}, and the recipe's [init] has {init.path}: a run begins once",
            "Leave one of them out.",
        )
    if option is not None:
        return Start(option, fold, is_option=True)
    return None if init.path is None else Start(Path(init.path), fold, init.growth)


def initialise(network: nn.Module, spec: NetworkSpec, start: Start, origin: Origin) -> Origin:
    """Put the weights of a checkpoint into `network`, with larger kernels where they are to grow.

    The output layers start anew where the classes differ, and deep-supervision layers where the
    checkpoint has none; everything else must agree.

    Args:
        network: freshly built.
        spec: of the network.
        start: the weights.
        origin: of the run.

    Returns:
        The origin, which says what the run began with.

    Raises:
        CheckpointError: the checkpoint cannot be used, or is of another network; names what
            differs.
    """
    resolve_model(start.path, "--init" if start.is_option else "[init]")
    checkpoint = load_checkpoint(start.file)
    check_start(checkpoint.network, spec, start)
    weights, kernels = _grown_weights(checkpoint, spec, start)
    anew, total = _load(network, weights), len(network.state_dict())
    way = f", kernels {_numbers(kernels)} grown to {_numbers(spec.kernels)} ({start.growth})"
    logger.info(
        "started from %s: %d of %d tensors%s%s",
        start.file,
        total - len(anew),
        total,
        way if kernels else "",
        f"; new: {', '.join(anew)}" if anew else "",
    )
    _warn(checkpoint, origin, start)
    noted = {
        "init": hash_file(start.file),
        "init_weights": hash_weights(checkpoint.state_dict),
        "init_kernels": kernels,
    }
    return origin.model_copy(update=noted)


def is_begun_with(origin: Origin, start: Start) -> bool:
    """Whether a run's first weights are those that are there now; a later note beside them may
    have changed the file.

    Raises:
        CheckpointError: the file is no checkpoint.
    """
    if not start.file.is_file():
        return False
    if hash_file(start.file) == origin.init:
        return True
    known = origin.init_weights
    return known is not None and hash_weights(load_checkpoint(start.file).state_dict) == known


def _load(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load what fits; the names of what stays as it was drawn."""
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape
    }
    network.load_state_dict({**own, **fitting})
    return sorted(set(own) - set(fitting))


def _grown_weights(
    checkpoint: Checkpoint, spec: NetworkSpec, start: Start
) -> tuple[Mapping[str, Tensor], tuple[int, ...]]:
    """The weights with the network's kernels, and the kernels they had where these are others."""
    source = checkpoint.network
    if start.growth is None or source.kernels == spec.kernels:
        return checkpoint.state_dict, ()
    target = replace(source, settings=spec.settings)
    try:
        return grow_to(checkpoint, target, start.growth)[0].state_dict, source.kernels
    except CheckpointError as error:
        raise CheckpointError(f"{start.file}: {error.message}", error.remedy) from error


def _numbers(kernels: tuple[int, ...]) -> str:
    return " and ".join(str(kernel) for kernel in sorted(set(kernels)))


def _warn(checkpoint: Checkpoint, origin: Origin, start: Start) -> None:
    """Say what makes the scores of the run worth less."""
    if checkpoint.progress.iteration and not checkpoint.finished:
        logger.warning(
            "%s is of a run that is not finished: it begins from %d steps",
            start.file,
            checkpoint.progress.iteration,
        )
    theirs = checkpoint.origin or Origin()
    before, now = theirs.case_keys or {}, origin.case_keys or {}
    trained_on = set(theirs.training_cases) & set(origin.validation_cases)
    seen = [name for name in trained_on if before.get(name) == now.get(name)]
    if seen:
        logger.warning(
            "%s was trained on %d of the %d cases that validate this fold: its scores will be too "
            "good. Begin a fold from the same fold",
            start.file,
            len(seen),
            len(origin.validation_cases),
        )


def check_start(theirs: NetworkSpec, ours: NetworkSpec, start: Start) -> None:
    """Whether a network can begin with another's weights, as far as the two can tell.

    Args:
        theirs: the network that gives its weights.
        ours: the one that begins with them.
        start: where they lie, and whether smaller kernels grow.

    Raises:
        CheckpointError: it cannot; names what differs.
    """
    grows = start.growth is not None and theirs.name == ours.name and bool(theirs.kernels)
    alike = (theirs, ours)
    if grows and ours.kernels:
        alike = (theirs.with_kernel(max(ours.kernels)), ours.with_kernel(max(ours.kernels)))
    if differing := _differing(*alike):
        raise CheckpointError(
            f"{start.file} has another network: {'; '.join(differing)}",
            _remedy(theirs, ours, start),
        )
    if grows and any(old > new for old, new in zip(theirs.kernels, ours.kernels, strict=True)):
        raise CheckpointError(
            f"{start.file} has kernels {_numbers(theirs.kernels)}, which cannot shrink to "
            f"{_numbers(ours.kernels)}",
            "UpKern only enlarges: begin with a network of smaller kernels.",
        )


def _remedy(theirs: NetworkSpec, ours: NetworkSpec, start: Start) -> str:
    if theirs.name != ours.name:
        return f"Train with --network {theirs.name}."
    if not ours.kernels:
        return (
            f"Choose the same with --set model.{ours.name}.KEY=VALUE, or take the recipe.toml of "
            "its run's folder where it has one."
        )
    if start.growth is not None:
        return "UpKern needs a network that differs by its kernels alone."
    return "Train with the same --model and --kernel, or enlarge it first with mednext upkern."


def _differing(theirs: NetworkSpec, ours: NetworkSpec) -> list[str]:
    """What of the networks differs; of two families, their names alone."""
    if theirs.name != ours.name:
        return [f"network {theirs.name} instead of {ours.name}"]
    old, new = theirs.flat(), ours.flat()
    return [
        f"{key} {old.get(key)} instead of {new.get(key)}"
        for key in old | new
        if key not in _MAY_DIFFER and old.get(key) != new.get(key)
    ]
