"""What is made of a scan and its label map: statistics, preview, masks, DICOM objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.dataset import Case
from mednext_cli.inference.findings.columns import volumes_of
from mednext_cli.inference.findings.files import CaseFiles, Wanted
from mednext_cli.inference.findings.structures import mask_names
from mednext_cli.preprocessing.source import on_grid, read_in_order
from mednext_cli.settings.plan import Plan
from mednext_cli.volumes.formats.dicom_objects import Origin
from mednext_cli.volumes.scans import write_label_map
from mednext_cli.volumes.volume import Volume


@dataclass(frozen=True)
class Derivation:
    """How to describe the cases of a folder.

    Attributes:
        wanted: what is made.
        structures: label value by name, those that label maps hold.
        plan: of the networks.
        origin: of label maps, as DICOM objects name it.
    """

    wanted: Wanted
    structures: Mapping[str, int]
    plan: Plan
    origin: Origin

    def check(self, case: Case) -> None:
        """Refuse, before it is predicted, a case that cannot be described.

        Raises:
            ScanError: as the DICOM objects say that are wanted.
        """
        if self.wanted.dicom:
            from mednext_cli.inference.findings.dicom import check_series

            check_series(case)

    def write(self, files: CaseFiles, case: Case, labels: Volume) -> None:
        """Make what is wanted of a case.

        Args:
            files: where it belongs.
            case: the scan, which is read again: what is told of are its own intensities.
            labels: on the scan's grid, in its own axis order.

        Raises:
            ScanError: the scan cannot be read. StorageError: the disk refuses.
        """
        if self.wanted.masks:
            self._write_masks(files, case, labels.array)
        if kinds := self.wanted.dicom:
            from mednext_cli.inference.findings.dicom import write_objects

            write_objects(kinds, files, case, labels, self.structures, self.origin)
        if self.wanted.statistics or self.wanted.preview:
            self._describe(files, case, labels)

    def _write_masks(self, files: CaseFiles, case: Case, labels: NDArray[Any]) -> None:
        names = mask_names(self.structures)
        for name, value in self.structures.items():
            path = files.mask(names[value])
            mask = (labels == value).astype(np.uint8)
            write_label_map(path, mask, case.channels[0].path, {name: 1})

    def _describe(self, files: CaseFiles, case: Case, labels: Volume) -> None:
        """One channel is held at a time."""
        from mednext_cli.inference.findings.preview import Subject, write_preview
        from mednext_cli.inference.findings.statistics import Statistics

        table = volumes_of(self.plan.channels)
        found = Statistics(case.id, labels.array, labels.grid, self.structures)
        first = case.channels[0].path
        for index, image in enumerate(read_in_order(case.channels)):
            image = on_grid(case.channels[index].path, image, first, labels.grid)
            if index == 0 and self.wanted.preview:
                scheme = self.plan.normalisation[0]
                write_preview(files.preview, Subject(image, labels, self.structures, scheme))
            if not self.wanted.statistics:
                return
            found.add(self.plan.channels[index], image.array)
        table.write(files.volumes, found.rows)
