import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

WriteScan = Callable[..., Path]


def write_scan(
    path: Path, array: np.ndarray | None = None, affine: np.ndarray | None = None
) -> Path:
    """A small NIfTI; without an array, noise of 4 x 5 x 6 voxels that depends on the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if array is None:
        seed = sum(path.name.encode())
        array = np.random.default_rng(seed).normal(size=(4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def write_label(path: Path, values: tuple[int, ...] = (1,)) -> Path:
    """A label map of 4 x 5 x 6 voxels that holds 0 and these values."""
    array = np.zeros((4, 5, 6), np.uint8)
    array.ravel()[: len(values)] = values
    return write_scan(path, array)


def write_description(folder: Path, **keys: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(keys), encoding="utf-8")


@pytest.fixture
def msd(tmp_path: Path) -> Path:
    """Two labelled cases and a test case in MSD layout."""
    raw = tmp_path / "Task99_Small"
    for name in ("a", "b"):
        write_scan(raw / "imagesTr" / f"{name}.nii.gz")
        write_label(raw / "labelsTr" / f"{name}.nii.gz", (1, 2))
    write_scan(raw / "imagesTs" / "c.nii.gz")
    describe_msd(raw)
    return raw


def describe_msd(raw: Path, **changes: Any) -> None:
    """A dataset.json for the fixture `msd`, with some keys changed (None takes one out)."""
    keys: dict[str, Any] = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Left Part", "2": "Right Part"},
        "numTraining": 17,
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in ("b", "a")
        ],
        "test": ["./imagesTs/c.nii.gz"],
        **changes,
    }
    write_description(raw, **{key: value for key, value in keys.items() if value is not None})


def write_series(
    folder: Path,
    array: np.ndarray,
    spacing: tuple[float, float, float] = (0.8, 0.8, 2.5),
    **changes: Any,
) -> Path:
    """A DICOM series of an array (row, column, slice); slices are named against their order.

    Args:
        folder: to be made.
        array: stored values, int16.
        spacing: of columns, rows and slices, mm.
        changes: elements of every slice; a function is given the number of the slice.
    """
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    for number in range(array.shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one = Dataset()
        one.file_meta = meta
        one.SOPClassUID = CTImageStorage
        one.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        one.SeriesInstanceUID = series
        one.Modality = "CT"
        one.Rows, one.Columns = array.shape[:2]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.PixelSpacing = [spacing[1], spacing[0]]
        one.SliceThickness = spacing[2]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [-10, -20, 30 + number * spacing[2]]
        one.RescaleSlope, one.RescaleIntercept = 2, -1024
        one.PixelData = np.ascontiguousarray(array[:, :, number], dtype="<i2").tobytes()
        for key, value in changes.items():
            setattr(one, key, value(number) if callable(value) else value)
        one.save_as(folder / f"slice{900 - number}", enforce_file_format=True)
    return folder
