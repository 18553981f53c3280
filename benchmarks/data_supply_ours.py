"""Our side of `data_supply.py`: prints JSON with patches and seconds of the processor."""

import argparse
import json
import time
from pathlib import Path

import torch

from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.memory import keep_freed_memory
from mednext_cli.settings.recipe import AugmentationSettings
from mednext_cli.training.sampling import PatchDataset, SamplingSpec

_WARM_UP = 2  # batches


def main() -> None:
    """Draw batches of two patches as a worker does."""
    parser = argparse.ArgumentParser(description="batches of mednext")
    parser.add_argument("folder", type=Path)
    parser.add_argument("batches", type=int)
    parser.add_argument("seed", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory(large=False)
    (cache,) = (options.folder / "cache").iterdir()
    samples = PatchDataset(
        SamplingSpec(
            cache=cache,
            case_ids=open_cache(cache).labelled_ids,
            patch_voxels=(128, 128, 128),
            batch_size=2,
            oversample_foreground=1 / 3,
            augmentation=AugmentationSettings(),
            seed=options.seed,
            in_memory=False,
        )
    )
    for step in range(_WARM_UP):
        samples.batch((2 * step, 2 * step + 1))
    started = time.process_time()
    for step in range(_WARM_UP, _WARM_UP + options.batches):
        samples.batch((2 * step, 2 * step + 1))
    seconds = time.process_time() - started
    print(json.dumps({"patches": 2 * options.batches, "seconds": seconds}))


if __name__ == "__main__":
    main()
