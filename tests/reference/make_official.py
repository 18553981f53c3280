"""Makes `mednext_official` out of files of the published network, and its gradients with MONAI.

    python tests/reference/make_official.py FOLDER

FOLDER holds S_k3.npz and the others as the published code made them, every output whole. Weights
and inputs are kept exactly, of the outputs at full resolution every 7th voxel: 7 divides no size of
a network's grid, so all places in it are seen. The published authors' network in MONAI takes the
same weights and must give the same outputs before its gradients are believed.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets.mednext import MedNeXt
from torch.nn import functional as F

NETWORKS = ("S_k3", "B_k5", "S_k3_grn", "S_k3_plain_resampling")
EVERY = 7
HERE = Path(__file__).parent / "mednext_official"
Arrays = dict[str, np.ndarray]


def load(path: Path) -> Arrays:
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def thin_out(arrays: Arrays) -> Arrays:
    """Every 7th voxel of the outputs at full resolution, as (B, K, voxels)."""
    whole = arrays["output/0"]
    return {**arrays, "output/0": whole.reshape(*whole.shape[:2], -1)[..., ::EVERY]}


def only_what_differs(arrays: Arrays) -> Arrays:
    """Of the enlarged weights those that are not the small network's, bit by bit."""
    return {
        key: value
        for key, value in arrays.items()
        if not (
            key.startswith("to/")
            and np.array_equal(value, arrays.get(key.replace("to/", "from/", 1)))
        )
    }


def monai_name(name: str) -> str:
    """The name in MONAI of a weight; its decoder counts from the bottom."""
    first, *rest = name.split(".")
    stage, _, number = first.rpartition("_")
    if not number.isdigit() or first == "out_0":
        return name
    index = int(number)
    numbered = {
        "enc_block": ("enc_stages", index),
        "dec_block": ("dec_stages", 3 - index),
        "down": ("down_blocks", index),
        "up": ("up_blocks", 3 - index),
        "out": ("out_blocks", 4 - index),
    }
    return ".".join([*map(str, numbered[stage]), *rest])


def monai_network(arrays: Arrays) -> MedNeXt:
    """S with kernel 3, 4 base channels, 2 channels in and 3 out."""
    stages = (2, 2, 2, 2)
    network = MedNeXt(3, 4, 2, 3, 2, 2, 2, 3, True, True, stages, 2, stages)
    weights = {
        monai_name(key.removeprefix("param/")): torch.from_numpy(value)
        for key, value in arrays.items()
        if key.startswith("param/") and "dummy" not in key
    }
    network.load_state_dict(weights)
    return network.train()


def gradients(arrays: Arrays) -> Arrays:
    """Of the mean cross entropy of the full-resolution output against random classes."""
    network = monai_network(arrays)
    outputs = network(torch.from_numpy(arrays["input"]))
    for index, output in enumerate(outputs):
        published = torch.from_numpy(arrays[f"output/{index}"])
        assert (output - published).abs().max() <= 1e-5 * published.abs().max()
    shape = (1, *arrays["input"].shape[2:])
    target = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    loss = F.cross_entropy(outputs[0], torch.from_numpy(target).long())
    loss.backward()
    found = dict(network.named_parameters())
    grads = {
        key.replace("param/", "grad/"): found[monai_name(key.removeprefix("param/"))].grad
        for key in arrays
        if key.startswith("param/") and "dummy" not in key
    }
    known = {key: value.numpy() for key, value in grads.items() if value is not None}
    return {"target": target, "loss": np.float64(loss.item()), **known}


def main(whole: Path) -> None:
    HERE.mkdir(exist_ok=True)
    for name in NETWORKS:
        np.savez_compressed(HERE / f"{name}.npz", **thin_out(load(whole / f"{name}.npz")))
    name = "upkern_S_k3_to_k5.npz"
    np.savez_compressed(HERE / name, **only_what_differs(load(whole / name)))
    np.savez_compressed(HERE / "S_k3_gradients.npz", **gradients(load(whole / "S_k3.npz")))
    shutil.copyfile(whole / "parameter_counts.json", HERE / "parameter_counts.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
