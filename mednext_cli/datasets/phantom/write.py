"""Writing a folder of phantoms that the layout `kits19` reads."""

from dataclasses import asdict, dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mednext_cli.datasets.phantom.body import Build, draw_body
from mednext_cli.datasets.phantom.canvas import Canvas
from mednext_cli.datasets.phantom.kidneys import KIDNEY, TUMOUR, draw_kidneys
from mednext_cli.datasets.phantom.scanner import Acquisition, ScannerName, plan_acquisition, scan
from mednext_cli.foundation.errors import DatasetError, SettingsError, check_choice
from mednext_cli.foundation.files import read_json, replacing, write_json
from mednext_cli.foundation.outcomes import raise_failures
from mednext_cli.foundation.workers import RunSettings, run_over
from mednext_cli.volumes.footprint import PHANTOM

_MARKER = "phantom.json"
_VERSION = 1  # of the anatomy: another version draws other cases from the same seed
_VOXELS_WORTH_A_WORKER = 4 * 2**20  # starting processes takes longer than small cases do
_SMALLEST, _LARGEST = 8, 4096  # voxels along an axis


@dataclass(frozen=True)
class PhantomSpec:
    """What `phantom` is asked for.

    Attributes:
        folder: where the case folders go.
        cases: how many.
        seed: the same seed gives the same cases, whatever their number.
        shape: (slices, rows, columns) of every scan; None for 96 x 96 and 128 mm of height.
        workers: processes; None for what fits, 0 for none.
        scanner: which of `scanner.SCANNERS`; the patients are the same.
    """

    folder: Path
    cases: int = 8
    seed: int = 0
    shape: tuple[int, int, int] | None = None
    workers: int | None = None
    scanner: ScannerName = "arterial"


@dataclass(frozen=True)
class PhantomCase:
    """One written case, with volumes in millilitres and spacings in array-axis order."""

    case: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    kidney_ml: float
    tumour_ml: float
    tumours: int


@dataclass(frozen=True)
class PhantomResult:
    """The folder, and its cases by id."""

    folder: Path
    cases: tuple[PhantomCase, ...]


def parse_shape(text: str) -> tuple[int, int, int]:
    """Slices, rows and columns from ``Z,Y,X``.

    Raises:
        SettingsError: not three whole numbers in a sensible range.
    """
    parts = text.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdecimal() for part in parts):
        raise SettingsError(f"--shape {text} is not Z,Y,X", "Write --shape 32,96,96, say.")
    depth, height, width = map(int, parts)
    if not all(_SMALLEST <= length <= _LARGEST for length in (depth, height, width)):
        raise SettingsError(
            f"--shape {text} is out of range", f"Each number is {_SMALLEST} to {_LARGEST}."
        )
    return (depth, height, width)


def phantom(spec: PhantomSpec) -> PhantomResult:
    """Write CT-like volumes as ``case_00000/imaging.nii.gz`` and ``segmentation.nii.gz``.

    Files depend on seed and case number alone, byte for byte; cases already there are kept.

    Raises:
        DatasetError: the folder holds something else, or phantoms of another seed, shape or
            scanner.
        SettingsError: there is no such scanner.
        FailedCases: some could not be written.
    """
    check_choice("--scanner", spec.scanner, ScannerName)
    _claim(spec)
    voxels = int(np.prod(spec.shape or (64, 96, 96)))
    small = spec.workers is None and voxels < _VOXELS_WORTH_A_WORKER
    settings = RunSettings[int](
        workers=0 if small else spec.workers, bytes_of=lambda _: PHANTOM.bytes_for(voxels)
    )
    work = partial(_write_case, spec)
    outcomes = list(run_over(work, range(spec.cases), _case_id, settings, "drawing phantoms"))
    raise_failures(outcomes, spec.cases, "Put that right and run the same command again.")
    written = [outcome.value for outcome in outcomes if outcome.value is not None]
    return PhantomResult(spec.folder, tuple(sorted(written, key=attrgetter("case"))))


def _claim(spec: PhantomSpec) -> None:
    """Mark the folder as ours, or raise where it is not."""
    settings = {
        "version": _VERSION,
        "seed": spec.seed,
        "shape": spec.shape and list(spec.shape),
        **({} if spec.scanner == "arterial" else {"scanner": spec.scanner}),
    }
    marker = spec.folder / _MARKER
    if spec.folder.exists() and not spec.folder.is_dir():
        raise DatasetError(f"{spec.folder} is a file", "Choose a folder.")
    if marker.exists():
        if read_json(marker) != settings:
            raise DatasetError(
                f"{spec.folder} holds phantoms of another seed, shape, scanner or version",
                "Choose another folder or delete this one.",
            )
    elif spec.folder.is_dir() and any(spec.folder.iterdir()):
        raise DatasetError(
            f"{spec.folder} is not empty and holds no phantoms", "Choose a new folder."
        )
    write_json(marker, settings)


def _case_id(index: int) -> str:
    return f"case_{index:05d}"


def _write_case(spec: PhantomSpec, index: int) -> PhantomCase:
    case = spec.folder / _case_id(index)
    image, label, about = (
        case / name for name in ("imaging.nii.gz", "segmentation.nii.gz", ".phantom.json")
    )
    if image.exists() and label.exists() and (known := _recall(about)):
        return known
    rng = np.random.default_rng([spec.seed, index])
    acquisition = plan_acquisition(spec.seed, index, spec.shape, rng)
    canvas = Canvas(acquisition.shape, acquisition.to_patient)
    build = Build.random(rng)
    draw_body(canvas, build, rng)
    tumours = draw_kidneys(canvas, build, rng)
    scanned = scan(canvas, acquisition.noise_hu, rng, spec.scanner)
    _write_nifti(image, scanned, acquisition.affine, qform_only=False)
    # Nine label files of KiTS19 carry their orientation in the qform only; so do some of these.
    _write_nifti(label, canvas.label, acquisition.affine, qform_only=index % 4 == 3)
    made = _describe(_case_id(index), canvas.label, acquisition, tumours)
    write_json(about, asdict(made))
    return made


def _describe(
    case: str, label: NDArray[np.uint8], acquisition: Acquisition, tumours: int
) -> PhantomCase:
    spacing = np.linalg.norm(acquisition.affine[:3, :3], axis=0)
    millilitres = float(np.prod(spacing)) / 1000.0
    return PhantomCase(
        case=case,
        shape=acquisition.shape,
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        kidney_ml=float(np.count_nonzero(label == KIDNEY)) * millilitres,
        tumour_ml=float(np.count_nonzero(label == TUMOUR)) * millilitres,
        tumours=tumours,
    )


def _recall(about: Path) -> PhantomCase | None:
    """What is written about a case; None where that is missing or damaged: it is drawn again."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(PhantomCase).validate_json(about.read_bytes())
    except (OSError, ValidationError):
        return None


def _write_nifti(
    path: Path,
    array: NDArray[np.int16] | NDArray[np.uint8],
    affine: NDArray[np.float64],
    *,
    qform_only: bool,
) -> None:
    """Write a NIfTI with sform code 2 ("aligned"), or with a qform alone; no time stamps."""
    import nibabel

    build: Any = nibabel.Nifti1Image  # nibabel leaves it untyped
    image = build(array, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(None if qform_only else affine, code=0 if qform_only else 2)
    image.set_qform(affine if qform_only else None, code=1 if qform_only else 0)
    with replacing(path) as beside:
        nibabel.save(image, beside)
