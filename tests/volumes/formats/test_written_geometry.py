"""What is written lies where the scan lies, for nibabel and for ITK, whatever the scan's header."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from mednext_cli.volumes.formats.format import Template
from mednext_cli.volumes.formats.nifti_writer import write_labels
from mednext_cli.volumes.scans import read_grid, write_label_map
from mednext_cli.volumes.volume import Grid
from tests.inference.synthetic import predict, save_model
from tests.volumes.headers import (
    OBLIQUE,
    ORIENTATIONS,
    SHAPE,
    SPACING,
    VOXELS,
    affine_of,
    itk_grid,
    write_header,
)

pytest.importorskip("SimpleITK")
FOUR = np.stack([VOXELS, VOXELS + 1], axis=-1)


def elsewhere(affine: np.ndarray) -> np.ndarray:
    other = affine.copy()
    other[:3, :3] = OBLIQUE @ affine[:3, :3]
    other[:3, 3] += 7
    return other


def build(kind: str, path: Path, order: tuple[int, ...], signs: tuple[int, ...]) -> Path:
    affine = affine_of(order, signs)
    tilted = affine_of(order, signs, OBLIQUE)
    forms: dict[str, dict[str, Any]] = {
        "sform only": {"sform": (affine, 2)},
        "qform only": {"qform": (affine, 1)},
        "both": {"sform": (affine, 1), "qform": (affine, 1)},
        "disagreeing": {"sform": (affine, 2), "qform": (elsewhere(affine), 1)},
        "disagreeing, scanner": {"sform": (affine, 1), "qform": (elsewhere(affine), 1)},
        "neither": {},
        "oblique": {"sform": (tilted, 2)},
        "oblique qform": {"qform": (tilted, 1)},
        "4D": {"sform": (affine, 2), "voxels": FOUR},
        "4D of one": {"qform": (affine, 1), "voxels": VOXELS[..., None]},
        "NIfTI-2": {"sform": (tilted, 4), "kind": nibabel.Nifti2Image},
    }
    return write_header(path, **forms[kind])


KINDS = ("sform only", "qform only", "both", "disagreeing", "disagreeing, scanner", "neither",
         "oblique", "oblique qform", "4D", "4D of one", "NIfTI-2")  # fmt: skip


def check_lies_on(label: Path, scan: Path) -> None:
    """Each reader puts the label map where it puts the scan."""
    made, expected = nibabel.load(label), nibabel.load(scan)
    assert made.shape == expected.shape[:3]
    assert np.allclose(made.affine, expected.affine, atol=1e-4)
    assert np.allclose(made.header["pixdim"][1:4], expected.header["pixdim"][1:4], atol=1e-6)
    by_itk, found = itk_grid(scan), itk_grid(label)
    if by_itk is None:  # as NIfTI-2
        by_itk = expected.affine
    assert found is not None
    assert np.allclose(found, by_itk, atol=1e-4)
    ours = read_grid(scan, 0 if expected.shape[3:] > (1,) else None)
    assert read_grid(label).same_as(ours, 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_all_orientations(tmp_path: Path, kind: str) -> None:
    for number, (order, signs) in enumerate(ORIENTATIONS):
        scan = build(kind, tmp_path / f"scan{number}.nii", order, signs)
        label = tmp_path / f"label{number}.nii"
        write_label_map(label, VOXELS % 3, scan)
        check_lies_on(label, scan)


@pytest.mark.slow
def test_predict_in_all_orientations(tmp_path: Path) -> None:
    """One channel, so the kinds with several volumes are left out."""
    kinds = [kind for kind in KINDS if kind != "4D"]
    scans = [
        build(kinds[number % len(kinds)], tmp_path / "scans" / f"c{number:02}.nii.gz", *place)
        for number, place in enumerate(ORIENTATIONS)
    ]
    out = tmp_path / "out"
    options = ("--probabilities", "--overlap", "0")
    assert predict(
        tmp_path / "scans", out, save_model(tmp_path / "model.pt", 0), options=options
    ) == 0  # fmt: skip
    for scan in scans:
        check_lies_on(out / scan.name, scan)
        with h5py.File(out / scan.name.replace(".nii.gz", "_probabilities.h5")) as stored:
            assert stored["probabilities"].shape[1:] == SHAPE
            assert np.allclose(stored.attrs["affine"], nibabel.load(scan).affine, atol=1e-4)


def test_on_a_grid_without_a_header(tmp_path: Path) -> None:
    """As label maps for NRRD, MetaImage and DICOM are written."""
    for number, (order, signs) in enumerate(ORIENTATIONS):
        for turn in (None, OBLIQUE):
            affine, path = affine_of(order, signs, turn), tmp_path / f"{number}.nii"
            write_labels(path, VOXELS % 3, Template(path, Grid(SHAPE, affine)))
            made, by_itk = nibabel.load(path), itk_grid(path)
            assert np.allclose(made.affine, affine, atol=1e-4)
            assert np.allclose(made.header["pixdim"][1:4], SPACING)
            assert by_itk is not None
            assert np.allclose(by_itk, affine, atol=1e-4)


def test_of_a_scan_of_freesurfer(tmp_path: Path) -> None:
    affine = affine_of((2, 0, 1), (-1, -1, 1), OBLIQUE)
    scan, label = tmp_path / "scan.mgz", tmp_path / "label.nii.gz"
    nibabel.save(nibabel.MGHImage(VOXELS, affine), scan)
    write_label_map(label, VOXELS % 3, scan)
    by_itk = itk_grid(label)
    assert by_itk is not None
    assert np.allclose(by_itk, affine, atol=1e-4)
    assert np.allclose(nibabel.load(label).affine, affine, atol=1e-4)


SHEARED = affine_of((0, 1, 2), (1, 1, 1))
SHEARED[1, 2] += 0.4


def test_of_a_sheared_scan_which_itk_does_not_read(tmp_path: Path) -> None:
    scan, label = tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz"
    write_header(scan, sform=(SHEARED, 2))
    write_label_map(label, VOXELS % 3, scan)
    assert np.allclose(nibabel.load(label).affine, SHEARED, atol=1e-5)
    write_labels(label, VOXELS % 3, Template(scan, Grid(SHAPE, SHEARED)))
    assert np.allclose(nibabel.load(label).affine, SHEARED, atol=1e-5)


GOOD = affine_of((0, 1, 2), (-1, -1, 1), OBLIQUE)
REPAIRED: dict[str, dict[str, Any]] = {
    "the quaternion of a qform alone is a little too long": {
        "qform": (np.diag([1.0, -1, -1, 1]), 1),
        "fields": {"quatern_b": 1 + 1e-6},
    },
    "a sform of NaN beside a good qform": {
        "sform": (GOOD, 1), "qform": (GOOD, 1), "fields": {"srow_x": np.nan},
    },
    "a sform in one plane beside a good qform": {
        "sform": (GOOD, 1), "qform": (GOOD, 1), "fields": {"srow_x": 0},
    },
    "a code that no standard has": {"sform": (GOOD, 1), "fields": {"sform_code": 7}},
}  # fmt: skip


@pytest.mark.parametrize("reason", REPAIRED)
def test_headers_that_nibabel_does_not_read_are_repaired(tmp_path: Path, reason: str) -> None:
    scan, label = tmp_path / "scan.nii.gz", tmp_path / "label.nii.gz"
    write_header(scan, **REPAIRED[reason])
    expected = np.diag([1.0, -1, -1, 1]) if "too long" in reason else GOOD
    assert np.allclose(read_grid(scan).affine, expected, atol=1e-4)
    write_label_map(label, VOXELS % 3, scan)
    by_itk = itk_grid(label)
    assert by_itk is not None
    assert np.allclose(by_itk, expected, atol=1e-4)
    assert np.allclose(nibabel.load(label).affine, expected, atol=1e-4)
