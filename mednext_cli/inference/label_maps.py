"""What is predicted, as files: label maps on the scans' own grids, and probabilities."""

from pathlib import Path

import numpy as np

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.files import replacing
from mednext_cli.inference.pipeline import Predicted
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.stages import Observe, unobserved
from mednext_cli.preprocessing.restore import restore_label_map, restore_probabilities
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.scans import write_label_map


def write_labels(
    path: Path, predicted: Predicted, plan: Plan, observe: Observe = unobserved
) -> None:
    """Write a case's label map.

    Args:
        path: the file.
        predicted: the case.
        plan: what the networks' outputs mean.
        observe: told of the two stages.

    Raises:
        StorageError: the disk refuses.
    """
    with observe("restore"):
        labels = restore_label_map(predicted.scores, predicted.geometry, plan)
    with observe("write"):
        write_label_map(path, labels, predicted.case.channels[0].path, plan.label_set.names)


class RecordedStore:
    """The folder that `mednext predict` fills.

    Args:
        record: of the folder.
        plan: what the networks' outputs mean.
        probabilities: whether to write them too.
    """

    def __init__(self, record: PredictionRecord, plan: Plan, probabilities: bool) -> None:
        self._record, self._plan, self._probabilities = record, plan, probabilities

    def before_reading(self, case: Case) -> None:
        """Note which scan it is."""
        self._record.identify(case)

    def write(self, predicted: Predicted) -> None:
        """Write label map and probabilities, then note that they are there."""
        case = predicted.case
        self._record.prepare_writing(case)
        beside = self._record.probabilities(case)
        if self._probabilities:
            whole = restore_probabilities(predicted.scores, predicted.geometry, self._plan)
            with replacing(beside) as path:
                affine = predicted.geometry.file_grid.affine  # where the label map lies, in mm
                np.savez_compressed(path, probabilities=whole, affine=affine)
        write_labels(self._record.label_map(case), predicted, self._plan)
        if not self._probabilities:
            beside.unlink(missing_ok=True)  # of an older label map
        self._record.note(case, predicted.seconds)
