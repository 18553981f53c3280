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
from mednext_cli.inference.probability_sink import ProbabilitySink
from mednext_cli.inference.record import PredictionRecord
from mednext_cli.inference.stages import Observe, unobserved
from mednext_cli.preprocessing.geometry import SourceGeometry
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
        observe: told of the stage.

    Raises:
        StorageError: the disk refuses.
    """
    with observe("write"):
        scan = predicted.case.channels[0].path
        write_label_map(path, predicted.labels, scan, plan.label_set.names)


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

    def sink(
        self, case: Case, geometry: SourceGeometry, axes: tuple[int, int]
    ) -> ProbabilitySink | None:
        """The file of probabilities that is being made, where it is wanted."""
        derivation = self._derivation
        if not derivation.wanted.probabilities:
            return None
        path, labels = self._record.files(case).probabilities, derivation.plan.label_set
        return ProbabilitySink(path, geometry, labels, derivation.origin, axes)

    def write(self, predicted: Predicted) -> None:
        """Write all that is wanted, at last the label map, then note that it is there."""
        try:
            self._write(predicted)
        except BaseException:
            if predicted.sink is not None:
                predicted.sink.discard()
            raise

    def _write(self, predicted: Predicted) -> None:
        case, derivation = predicted.case, self._derivation
        files = self._record.files(case)
        self._record.prepare_writing(case)
        files.remove_beside()  # of an older label map
        self._write_scores(files, predicted)
        grid = predicted.geometry.file_grid
        labels = predicted.labels
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
        if predicted.sink is not None:
            predicted.sink.finish()
        scan = predicted.case.channels[0].path
        for name, values in predicted.doubts.items():
            write_number_map(files.uncertainty(name), np.round(values, _DECIMALS), scan)
