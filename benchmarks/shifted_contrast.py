"""A copy of an MSD folder whose scans have another contrast: for check/transfer_hippocampus.

Each scan's intensities go through a gamma curve over their own range (0 to the largest), which no
normalisation takes back, and gets some noise. Labels and dataset.json stay; the name of the folder
becomes that of the dataset.

    python benchmarks/shifted_contrast.py .../Task04_Hippocampus Task04_Shifted --gamma 2.0
"""

import argparse
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np


def main() -> None:
    """Write the copy."""
    options = _options()
    shutil.copytree(options.raw / "labelsTr", options.out / "labelsTr")
    shutil.copy(options.raw / "dataset.json", options.out / "dataset.json")
    (options.out / "imagesTr").mkdir()
    for number, path in enumerate(sorted((options.raw / "imagesTr").glob("[!.]*.nii.gz"))):
        image = nib.load(path)
        voxels = np.asarray(image.dataobj, np.float32)
        shifted = _shift(voxels, options.gamma, options.noise, number)
        nib.save(nib.Nifti1Image(shifted, image.affine), options.out / "imagesTr" / path.name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("raw", type=Path, help="an MSD folder, with imagesTr and labelsTr")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--gamma", type=float, default=2.0)
    parser.add_argument("--noise", type=float, default=0.05, help="share of the range")
    return parser.parse_args()


def _shift(voxels: np.ndarray, gamma: float, noise: float, number: int) -> np.ndarray:
    top = max(float(voxels.max()), 1e-6)
    curve = top * np.clip(voxels / top, 0, None) ** gamma
    random = np.random.default_rng(number).standard_normal(voxels.shape, np.float32)
    return (curve + noise * top * random * (voxels != 0)).astype(np.float32)


if __name__ == "__main__":
    main()
