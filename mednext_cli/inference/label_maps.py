"""What is predicted, as files: label maps on the scans' own grids, and what lies beside them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mednext_cli.datasets.dataset import Case
from mednext_cli.inference.findings.derive import Derivation
from mednext_cli.inference.findings.files import CaseFiles
from mednext_cli.inference.findings.structures import keep_only
from mednext_cli.inference.pipeline import Predicted
from mednext_cli.inference.postprocessing.apply import apply_steps
from mednext_cli.inference.postprocessing.columns import CHANGES
from mednext_cli.inference.postprocessing.steps import Step
from mednext_cli.inference.probabilities import write_probabilities
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.stages import Observe, unobserved
from mednext_cli.preprocessing.restore import (
    resampled_classes,
    restore_label_map,
    restore_map,
)
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.scans import read_label_map, write_label_map, write_number_map
from mednext_cli.volumes.volume import Volume

_DECIMALS = 3  # of uncertainties: more of them are noise that does not compress


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
        derivation: what the networks' outputs mean, and what is told of them.
        steps: of post-processing.
    """

    def __init__(
        self, record: PredictionRecord, derivation: Derivation, steps: Sequence[Step] = ()
    ) -> None:
        self._record, self._derivation, self._steps = record, derivation, steps

    def before_reading(self, case: Case) -> None:
        """Note which scan it is, if what is wanted can be made of it."""
        self._derivation.check(case)
        self._record.identify(case)

    def write(self, predicted: Predicted) -> None:
        """Write all that is wanted, at last the label map, then note that it is there."""
        case, derivation = predicted.case, self._derivation
        files = self._record.files(case)
        self._record.prepare_writing(case)
        files.remove_beside()  # of an older label map
        self._write_scores(files, predicted)
        grid = predicted.geometry.file_grid
        labels = restore_label_map(predicted.scores, predicted.geometry, derivation.plan)
        changes = apply_steps(labels, self._steps, grid.voxel_ml)
        if derivation.wanted.changes:
            rows = (change.row(case.id, grid.voxel_ml) for change in changes)
            CHANGES.write(files.changes, rows)
        labels = keep_only(labels, derivation.structures.values())
        derivation.write(files, case, Volume(labels, grid.affine))
        names = derivation.plan.label_set.names
        write_label_map(files.label_map, labels, case.channels[0].path, names)
        self._record.note(case, predicted.seconds)

    def describe(self, case: Case) -> None:
        """Make what is wanted of a scan whose label map is there already.

        Raises:
            ScanError: the scan or its label map cannot be read. StorageError: the disk refuses.
        """
        files = self._record.files(case)
        self._record.prepare_describing(case)
        self._derivation.write(files, case, read_label_map(files.label_map))
        self._record.note_described(case)

    def _write_scores(self, files: CaseFiles, predicted: Predicted) -> None:
        """What the label map does not tell, each in one step."""
        plan, geometry = self._derivation.plan, predicted.geometry
        if self._derivation.wanted.probabilities:
            target, origin = files.probabilities, self._derivation.origin
            with write_probabilities(target, geometry, plan.label_set, origin) as writer:
                for index, one in enumerate(resampled_classes(predicted.scores, geometry, plan)):
                    writer.write(index, slice(0, writer.rows), one)
        scan = predicted.case.channels[0].path
        for name, values in predicted.doubts.items():
            restored = np.round(restore_map(values, geometry, plan), _DECIMALS)
            write_number_map(files.uncertainty(name), restored, scan)
