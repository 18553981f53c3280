"""Makes `metrics`: pairs of made-up label maps, and what the published packages say of them.

    python tests/reference/make_metrics.py

Dice and IoU are nnU-Net's, sensitivity, precision and the HD95 of voxels MedPy's, everything else
surface-distance's. What a package leaves open (an empty mask) is left out.
"""

import json
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import surface_distance
from medpy.metric import binary
from nnunetv2.evaluation.evaluate_predictions import compute_metrics
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).parent / "metrics"
REGIONS = {"one": (1,), "two": (2,), "whole": (1, 2)}
TOLERANCES_MM = (0.5, 1.0, 2.0, 3.0)
SHAPE = (18, 22, 14)
ISOTROPIC, ANISOTROPIC, THIN = (1.0, 1.0, 1.0), (0.75, 0.75, 5.0), (2.5, 0.875, 1.25)


def blobs(seed, shape=SHAPE):
    """Two classes with ragged borders that touch each other and the border of the scan."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(3, *shape)), (0, 3, 3, 3))
    return field.argmax(axis=0).astype(np.uint8)


def box(*slices, value=1, into=None):
    made = np.zeros(SHAPE, np.uint8) if into is None else into.copy()
    made[slices] = value
    return made


def speckled(labels, seed):
    """The same with a few voxels of any class anywhere: far outliers, holes."""
    random = np.random.default_rng(seed)
    made, wrong = labels.copy(), random.random(labels.shape) < 0.01
    made[wrong] = random.integers(0, 3, wrong.sum())
    return made


def pairs():
    """Name, spacing in mm, reference and prediction."""
    every, part = slice(None), slice(4, 11)
    organ = box(part, part, slice(3, 9))
    tumour = box(slice(6, 9), slice(6, 9), slice(5, 7), value=2, into=organ)
    yield "blobs", ISOTROPIC, blobs(0), np.roll(blobs(0), (1, -1, 0), (0, 1, 2))
    yield "blobs_thick_slices", ANISOTROPIC, blobs(1), np.roll(blobs(1), 1, 2)
    yield "blobs_and_others", THIN, blobs(2), blobs(3)
    yield "speckled", ANISOTROPIC, blobs(4), speckled(blobs(4), 5)
    yield "the_same", THIN, blobs(6), blobs(6)
    yield "organ_and_tumour", THIN, tumour, np.roll(tumour, 2, 1)
    yield "tumour_missed", ISOTROPIC, tumour, organ
    yield "tumour_invented", ANISOTROPIC, organ, tumour
    yield "nothing_found", ISOTROPIC, tumour, np.zeros(SHAPE, np.uint8)
    yield "nothing_there", ISOTROPIC, np.zeros(SHAPE, np.uint8), tumour
    yield "one_voxel", THIN, box(5, 6, 7), box(6, 6, 7)
    yield "voxels_in_corners", ANISOTROPIC, box(0, 0, 0), box(-1, -1, -1)
    yield "one_voxel_of_two", ISOTROPIC, box(5, 6, 7), box(slice(5, 7), 6, 7)
    yield "sheet_on_the_border", ANISOTROPIC, box(0), box(slice(0, 2))
    yield "the_whole_scan", THIN, box(every), box(slice(1, None))
    yield "one_slice", ISOTROPIC, blobs(7, (24, 20, 1)), blobs(8, (24, 20, 1))


def overlaps(reference, prediction, spacing_mm):
    """nnU-Net's own evaluation of two files."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / f"{name}.nii.gz") for name in ("reference", "prediction")]
        for file, array in zip(files, (reference, prediction), strict=True):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing_mm, 1.0])), file)
        found = compute_metrics(*files, NibabelIO(), list(REGIONS.values()))["metrics"]
    voxel_mm3 = float(np.prod(spacing_mm))
    return {
        name: {
            "dice": found[values]["Dice"],
            "iou": found[values]["IoU"],
            "volume_reference_mm3": int(found[values]["n_ref"]) * voxel_mm3,
            "volume_prediction_mm3": int(found[values]["n_pred"]) * voxel_mm3,
        }
        for name, values in REGIONS.items()
    }


def distances(reference, prediction, spacing_mm):
    found = surface_distance.compute_surface_distances(reference, prediction, spacing_mm)
    average = surface_distance.compute_average_surface_distance(found)
    robust = surface_distance.compute_robust_hausdorff
    agreed = surface_distance.compute_surface_dice_at_tolerance
    return {
        "surface_distance_gt_to_pred_mm": float(average[0]),
        "surface_distance_pred_to_gt_mm": float(average[1]),
        "hd95_mm": float(robust(found, 95)),
        "hd100_mm": float(robust(found, 100)),
        "hd95_medpy_mm": float(binary.hd95(prediction, reference, spacing_mm)),
        "sensitivity": float(binary.sensitivity(prediction, reference)),
        "precision": float(binary.precision(prediction, reference)),
        **{f"nsd_{mm}mm": float(agreed(found, mm)) for mm in TOLERANCES_MM},
    }


def compared(reference, prediction, spacing_mm):
    made = overlaps(reference, prediction, spacing_mm)
    for name, values in REGIONS.items():
        masks = np.isin(reference, values), np.isin(prediction, values)
        if all(mask.any() for mask in masks):
            made[name] |= distances(*masks, spacing_mm)
    return made


def finite(value):
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def main() -> None:
    HERE.mkdir(exist_ok=True)
    maps, cases = {}, {}
    for name, spacing_mm, reference, prediction in pairs():
        maps |= {f"{name}/reference": reference, f"{name}/prediction": prediction}
        values = compared(reference, prediction, spacing_mm)
        cases[name] = {"spacing_mm": spacing_mm, "regions": REGIONS, "values": finite(values)}
    np.savez_compressed(HERE / "label_maps.npz", **maps)
    (HERE / "expected.json").write_text(json.dumps({"cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
