"""nnU-Net's side of `data_supply.py`; runs in the peers' environment and prints JSON.

Its dataset, loader and transforms as its trainer puts them together; deep supervision's smaller
labels, which it makes here and we make in the loss, are left out.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import (
    comp_blosc2_params,
    nnUNetDatasetBlosc2,
)
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_PATCH, _WARM_UP = (128, 128, 128), 1
_MOST_LOCATIONS = 10_000  # voxels of a class that nnU-Net keeps


def main() -> None:
    """Draw batches of two patches as its single-threaded loader does."""
    folder, batches, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    labels = _convert(folder)
    np.random.seed(seed)  # noqa: NPY002 - what nnU-Net draws from
    torch.manual_seed(seed)
    loader = _loader(folder / "nnunet", labels)
    for _ in range(_WARM_UP):
        next(loader)
    started = time.process_time()
    for _ in range(batches):
        next(loader)
    seconds = time.process_time() - started
    print(json.dumps({"patches": 2 * batches, "seconds": seconds}))


class _Balanced:
    """Turns and zooms as many of 25 patches as nnU-Net does of 25 on average, instead of by chance.

    A fifth each, one of 25 both: a few patches then tell what many would.
    """

    def __init__(self, spatial: BasicTransform) -> None:
        self._spatial, self._count = spatial, 0

    def __call__(self, **data: torch.Tensor) -> dict[str, torch.Tensor]:
        number = 7 * self._count % 25
        self._spatial.p_rotation, self._spatial.p_scaling = number < 5, 4 <= number < 9
        self._count += 1
        return self._spatial(**data)


def _convert(folder: Path) -> int:
    """Write the voxels as nnU-Net's preprocessing does, once; gives the number of labels."""
    made = folder / "nnunet"
    largest = 0
    for path in sorted((folder / "voxels").glob("*.npz")):
        found = np.load(path)
        image, label = found["image"], found["label"][None].astype(np.int16)
        largest = max(largest, int(label.max()))
        if (made / f"{path.stem}.pkl").exists():
            continue
        made.mkdir(exist_ok=True)
        blocks, chunks = comp_blosc2_params(image.shape, _PATCH, image.itemsize)
        blocks_label, chunks_label = comp_blosc2_params(label.shape, _PATCH, label.itemsize)
        nnUNetDatasetBlosc2.save_case(
            image,
            label,
            {"class_locations": _locations(label)},
            str(made / path.stem),
            chunks=chunks,
            blocks=blocks,
            chunks_seg=chunks_label,
            blocks_seg=blocks_label,
        )
    return largest + 1


def _locations(label: np.ndarray) -> dict[int, np.ndarray]:
    random = np.random.default_rng(0)
    found = {}
    for value in range(1, int(label.max()) + 1):
        voxels = np.argwhere(label == value)
        chosen = random.choice(len(voxels), min(len(voxels), _MOST_LOCATIONS), replace=False)
        found[value] = voxels[chosen]
    return found


def _loader(folder: Path, labels: int) -> nnUNetDataLoader:
    angle = 30 / 360 * 2 * np.pi
    turned = (-angle, angle)
    transforms = nnUNetTrainer.get_training_transforms(
        _PATCH,
        turned,
        None,
        (0, 1, 2),
        False,
        use_mask_for_norm=[False, False],
        foreground_labels=list(range(1, labels)),
    )
    transforms.transforms[0] = _Balanced(transforms.transforms[0])
    dataset = nnUNetDatasetBlosc2(str(folder))
    known = SimpleNamespace(all_labels=list(range(labels)), has_ignore_label=False)
    read = get_patch_size(_PATCH, turned, turned, turned, (0.85, 1.25))
    return nnUNetDataLoader(
        dataset, 2, read, _PATCH, known, oversample_foreground_percent=0.33, transforms=transforms
    )


if __name__ == "__main__":
    main()
