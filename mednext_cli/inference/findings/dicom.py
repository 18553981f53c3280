"""Label maps as DICOM objects: which cases can have them, and what is written into them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.findings.files import CONTOURS, SEGMENTATION, CaseFiles
from mednext_cli.inference.findings.structures import colour_of
from mednext_cli.inference.grouping import UnreadCase
from mednext_cli.volumes.formats.dicom import DICOM
from mednext_cli.volumes.formats.dicom_objects import Origin, Structure, Subject, number_frames
from mednext_cli.volumes.formats.dicom_rtstruct import write_structure_set
from mednext_cli.volumes.formats.dicom_seg import write_segmentation
from mednext_cli.volumes.formats.dicom_source import read_source
from mednext_cli.volumes.scans import format_of
from mednext_cli.volumes.volume import Volume

OPTIONS = {SEGMENTATION: "--dicom-seg", CONTOURS: "--rtstruct"}
_LIBRARIES = {SEGMENTATION: "highdicom", CONTOURS: "pydicom"}
_WRITE = {SEGMENTATION: write_segmentation, CONTOURS: write_structure_set}


def check_objects(kinds: Sequence[str], cases: Sequence[Case]) -> None:
    """Refuse before anything is computed what cannot end in DICOM objects.

    Args:
        kinds: `SEGMENTATION` and `CONTOURS`, those that are wanted.
        cases: those at hand; what cannot be read is told when it comes to it.

    Raises:
        SettingsError: a library is not installed, or a case is no DICOM series.
    """
    for kind in kinds:
        library = _LIBRARIES[kind]
        if find_spec(library) is None:
            raise SettingsError(
                f"{OPTIONS[kind]} needs {library}, which is not installed",
                f"pip install 'mednext[dicom]', or where that lacks it: pip install {library}.",
            )
        for case in cases:
            path = case.channels[0].path
            if not isinstance(case, UnreadCase) and format_of(path) is not DICOM:
                raise SettingsError(
                    f"{OPTIONS[kind]} needs DICOM series, and {case.id} is from {path}",
                    "Leave it out with --cases, or predict without the option.",
                )


def check_series(case: Case) -> None:
    """Refuse, before it is predicted, a series that no object can refer to.

    Raises:
        ScanError: it lacks what an object has to name.
    """
    read_source(case.channels[0].path)


def write_objects(
    kinds: Sequence[str],
    files: CaseFiles,
    case: Case,
    labels: Volume,
    structures: Mapping[str, int],
    origin: Origin,
) -> None:
    """Write the label map of a case as DICOM objects.

    Args:
        kinds: those that are wanted.
        files: where they belong.
        case: the series.
        labels: (column, row, slice) on its grid.
        structures: label value by name.
        origin: by what it was made.

    Raises:
        ScanError: the series cannot be read. StorageError: the disk refuses.
    """
    source = read_source(case.channels[0].path)
    described = tuple(
        Structure(name, value, colour_of(value)) for name, value in structures.items()
    )
    subject = Subject(source, number_frames(labels.array, described), described, origin)
    for kind in kinds:
        _WRITE[kind](files.dicom(kind), subject)
