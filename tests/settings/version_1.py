"""What version 1 wrote, made by hand."""

import json
from pathlib import Path
from typing import Any

import h5py
import torch

from tests.networks.archives import read_content

_LABELS = {
    "labels": "names",
    "regions": "regions",
    "ignore": "ignore",
    "region_training": "region_training",
    "region_values": "region_values",
    "tolerance_mm": "tolerance_mm",
}
PLAN: dict[str, Any] = {
    "version": 1,
    "dataset": "Blobs",
    "layout": "msd",
    "spacing_mm": [1.0, 1.0, 1.0],
    "patch_voxels": [16, 32, 16],
    "batch_size": 2,
    "channels": ["MRI"],
    "normalisation": [
        {
            "scheme": "z_score",
            "use_nonzero_mask": False,
            "lower": 0.0,
            "upper": 0.0,
            "mean": 0.0,
            "std": 1.0,
        }
    ],
    "labels": {"organ": 1},
    "regions": {"organ": [1]},
    "ignore": None,
    "region_training": False,
    "region_values": [],
    "tolerance_mm": {},
    "batch_dice": False,
}
"""`tests.settings.examples.PLAN` as version 1 wrote it."""
NOTE = "written by an older mednext, read as version 2"


def as_plan(values: dict[str, Any]) -> dict[str, Any]:
    """A plan of version 2 as version 1 wrote it."""
    values = dict(values)
    labels = values.pop("label_set")
    return {**values, "version": 1, **{old: labels[new] for old, new in _LABELS.items()}}


def _flat(model: dict[str, Any]) -> dict[str, Any]:
    """A recipe's model with what of the network can be chosen beside the rest."""
    own = model.get("mednext", {})
    beside = {name: one for name, one in model.items() if name not in ("mednext", "operators")}
    # Chosen since then, or said otherwise.
    late = ("dimensions", "grn_in_first_downsampling", "expansion", "blocks")
    kept = {name: one for name, one in own.items() if name not in late}
    heads = {"deep_supervision": True, "kernels": model["operators"]}
    return {**beside, **kept, **heads}


def as_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of version 2 as version 1 wrote it."""
    content = read_content(path)
    progress = dict(content["progress"])
    origin, changes = content.pop("origin"), progress.pop("changes")
    metadata = {**content["metadata"], "changes": changes}
    network, recipe = content.pop("network"), content["recipe"]
    settings, network["network"] = network.pop("settings"), network.pop("name")
    kernels = {f"{side}_kernel": settings["kernel"] for side in ("encoder", "decoder")}
    stages = {"expansion": [2] * 9, "blocks": [2] * 9}  # of the size S
    shape = {name: one for name, one in settings.items() if name not in ("size", "kernel")}
    return {
        **content,
        "version": 1,
        "architecture": {**network, **shape, **kernels, **stages},
        "recipe": recipe and {**recipe, "model": _flat(recipe["model"])},
        "plan": content["plan"] and as_plan(content["plan"]),
        "progress": {**progress, "finished": True},
        "metadata": metadata if origin is None else {**metadata, "origin": origin},
    }


def rewrite_checkpoint(path: Path) -> Path:
    """Turn a file of version 2 into one of version 1."""
    torch.save(as_checkpoint(path), path)
    return path


def rewrite_cache(folder: Path) -> Path:
    """Turn a cache of version 2 into one of version 1."""
    path = folder / "dataset.json"
    content = json.loads(path.read_text())
    for case in content["cases"].values():
        if not case["label_resampled"]:  # only said where it is so
            del case["label_resampled"]
    content = {**content, "version": 1, "plan": as_plan(content["plan"])}
    path.write_text(json.dumps(content))
    for case_file in folder.glob("*.h5"):
        with h5py.File(case_file, "r+") as file:
            if "version" in file.attrs:
                file.attrs["version"] = 1
    return folder
