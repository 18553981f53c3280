"""A run that patience ended goes out with its best weights, not with those that were no better."""

import logging

import torch

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.training.distributed import Processes, together
from mednext_cli.training.resume import load_weights
from mednext_cli.training.run_folder import RunFolder
from mednext_cli.training.state import TrainingState

logger = logging.getLogger(__name__)


def take_best(state: TrainingState, folder: RunFolder, processes: Processes) -> None:
    """Give the state the weights of ``checkpoint_best.pt`` if patience has ended the run.

    The last checkpoint has them from then on, so that whatever takes it takes the best: the final
    validation, `mednext predict`, another run's `[init]`. Done again it changes nothing: a run
    that was killed before it is put right by the same command. Of several processes each
    reads the file, the first writes.

    Args:
        state: at the end of training.
        folder: of the run.
        processes: that train it.

    Raises:
        StorageError: the disk refuses.
    """
    if not state.progress.has_lost_patience(state.recipe.training):
        return
    with together(processes):
        epoch = _load(state, folder)
    with together(processes):
        if epoch and processes.rank == 0:
            state.save(folder.last)
            logger.info("the weights are those of epoch %d, the best, from here on", epoch)


def _load(state: TrainingState, folder: RunFolder) -> int:
    """The epoch of the best weights, which the state has then; 0 where it has or keeps its own."""
    try:
        best = load_checkpoint(folder.best)
        if best.network != state.spec:
            raise CheckpointError(f"{folder.best} is of another network")
        own = state.weights
        if all(torch.equal(own[name].cpu(), saved) for name, saved in best.state_dict.items()):
            return 0
        load_weights(state, best)
    except (CheckpointError, KeyError, ValueError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        logger.warning("the best weights cannot be taken, the last ones stand: %s", said)
        return 0
    return best.progress.epochs
