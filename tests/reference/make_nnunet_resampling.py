"""Makes `nnunet_resampling`: made-up volumes resampled by nnU-Net, its tiles.

python tests/reference/make_nnunet_resampling.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import (
    compute_gaussian,
    compute_steps_for_sliding_window,
)
from nnunetv2.preprocessing.resampling.default_resampling import (
    compute_new_shape,
    resample_data_or_seg_to_shape,
)
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).parent / "nnunet_resampling"
Numbers = tuple[float, ...]
# (D, H, W), spacing and new spacing in mm
IMAGES: dict[str, tuple[tuple[int, int, int], Numbers, Numbers]] = {
    "finer": ((12, 15, 14), (3, 3, 3), (2, 2, 2)),
    "coarser": ((24, 26, 21), (1, 1, 1), (2.3, 2.3, 2.3)),
    "thicker_slices": ((11, 22, 20), (2, 0.9765625, 0.9765625), (1.5, 1.5, 1.5)),
    "separate_slices_finer": ((6, 26, 24), (6, 0.9765625, 0.9765625), (1.5, 1.5, 1.5)),
    "separate_slices_coarser": ((20, 14, 16), (4, 1, 1), (8, 0.8, 0.8)),
    "separate_last_axis": ((13, 16, 9), (1, 1, 5), (0.8, 0.8, 2)),
    "separate_afterwards": ((24, 12, 12), (1, 1, 1), (4, 1, 1.2)),
    "two_coarse_axes": ((7, 6, 24), (5, 5, 1), (2, 2, 1.5)),
    "every_axis_its_own": ((10, 17, 20), (2.5, 1.1, 0.9), (1.2, 1.3, 1.7)),
}
LABELS: dict[str, tuple[tuple[int, int, int], Numbers, Numbers]] = {
    "finer": ((14, 16, 18), (3, 3, 3), (2, 2, 2)),
    "coarser": ((34, 30, 28), (1, 1, 1), (1.7, 1.7, 1.7)),
    "twice_as_fine": ((12, 13, 14), (2, 2, 2), (1, 1, 1)),
    "separate_slices_finer": ((8, 30, 34), (5, 0.77929688, 0.77929688), (1, 1, 1)),
    "separate_slices_coarser": ((18, 20, 22), (4, 1, 1), (8, 1.3, 1.3)),
    "every_axis_its_own": ((16, 20, 22), (2.5, 1.1, 0.9), (1.2, 1.3, 1.7)),
}
VALUES = np.array([0, 1, 2, 5, 9], dtype=np.uint8)
LENGTHS = range(1, 25)
TILES = [
    ((40, 56, 40), (40, 56, 40)),
    ((300, 300, 200), (128, 128, 128)),
    ((129, 128, 500), (128, 128, 128)),
    ((97, 33, 161), (96, 32, 64)),
    ((111, 160, 77), (48, 64, 32)),
]
PATCHES = ((32, 48, 16), (5, 12, 9))


def resample(array, spacing, new_spacing, **settings):
    """As nnU-Net's plans call it: slices apart above a ratio of 3, nearest across them."""
    shape = compute_new_shape(array.shape[1:], spacing, new_spacing)
    return resample_data_or_seg_to_shape(
        array, shape, spacing, new_spacing, order_z=0, force_separate_z=None, **settings
    )


def image(shape, random):
    """Two channels that look like CT: smooth, with noise, whole numbers."""
    smooth = gaussian_filter(random.normal(0, 4000, (2, *shape)), (0, 2, 2, 2))
    return np.round(smooth + random.normal(0, 40, (2, *shape))).astype(np.int16)


def labels(shape, random):
    """Blobs of five values, with single voxels that draw."""
    scores = gaussian_filter(random.normal(size=(len(VALUES), *shape)), (0, 2, 2, 2))
    made = VALUES[scores.argmax(axis=0)]
    noisy = random.random(shape) < 0.03
    made[noisy] = random.choice(VALUES, noisy.sum())
    return made


def resampled_images(random):
    for name, (shape, spacing, new) in IMAGES.items():
        data = image(shape, random)
        expected = resample(data.astype(np.float32), spacing, new, order=3)
        yield name, {"data": data, "spacing": spacing, "new_spacing": new, "expected": expected}


def resampled_labels(random):
    """As labels, and the mask of the value 1 as a probability."""
    for name, (shape, spacing, new) in LABELS.items():
        data = labels(shape, random)
        expected = resample(data[None], spacing, new, is_seg=True, order=1)[0]
        mask = (data == 1).astype(np.float32)
        probability = resample(mask[None], spacing, new, order=1)[0]
        yield name, {"data": data, "spacing": spacing, "new_spacing": new, "expected": expected,
                     "probability": probability}  # fmt: skip


def nearest_slices():
    """For each number of slices before and after: which slice each new one is taken from."""
    for old in LENGTHS:
        slices = np.broadcast_to(np.arange(old, dtype=np.float32)[None, :, None, None],
                                 (1, old, 2, 2))  # fmt: skip
        for new in LENGTHS:
            made = resample_data_or_seg_to_shape(
                slices.copy(), (new, 2, 2), (9, 1, 1), (9, 1, 1), order=3, force_separate_z=True
            )
            yield f"{old}/{new}", made[0, :, 0, 0].astype(np.int8)


def tiles():
    return [
        {"image": shape, "patch": patch, "step": step,
         "starts": compute_steps_for_sliding_window(shape, patch, step)}
        for shape, patch in TILES for step in (0.5, 0.25, 0.75)
    ]  # fmt: skip


def gaussians():
    for patch in PATCHES:
        made = compute_gaussian(patch, 1 / 8, 10, torch.float32, torch.device("cpu"))
        yield "x".join(map(str, patch)), made.numpy()


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, arrays in resampled_images(np.random.default_rng(0)):
        np.savez_compressed(HERE / f"image_{name}.npz", **arrays)
    for name, arrays in resampled_labels(np.random.default_rng(1)):
        np.savez_compressed(HERE / f"labels_{name}.npz", **arrays)
    np.savez_compressed(HERE / "gaussian_importance.npz", **dict(gaussians()))
    pairs = dict(nearest_slices())
    flat = {"lengths": np.array(LENGTHS), "slices": np.concatenate(list(pairs.values()))}
    np.savez_compressed(HERE / "nearest_slices.npz", **flat)
    text = ",\n".join(json.dumps(tile) for tile in tiles())
    (HERE / "sliding_window_starts.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
