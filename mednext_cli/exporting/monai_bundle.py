"""A network as a MONAI bundle: metadata, configuration of an inference, weights.

It needs mednext where it is used: the configuration names our network, normalisation and labels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from mednext_cli import __version__
from mednext_cli.exporting import bundled
from mednext_cli.exporting.checking import Array, compare, make_image
from mednext_cli.exporting.facts import describe_model
from mednext_cli.exporting.folders import replacing_folder
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.inference.engine import activation_of
from mednext_cli.inference.models import Model
from mednext_cli.networks.checkpoint import build_network
from mednext_cli.networks.tensor_files import load_tensors
from mednext_cli.networks.weight_files import write_weights
from mednext_cli.settings.plan import Plan

SUFFIX = "_bundle"
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
_MONAI = "1.5.0"
_MODULE = "mednext_cli.exporting.bundled"
_CANONICAL = "SAR"  # inferior to superior, posterior to anterior, left to right
_CHECKED_VOXELS = 64


def write(model: Model, path: Path) -> str:
    """Write the folder, and compare the network that it describes with ours before it is kept.

    Returns:
        What was checked.

    Raises:
        SettingsError: the described network computes something else.
        StorageError: the disk refuses.
    """
    weights = {name: value.contiguous() for name, value in model.checkpoint.state_dict.items()}
    with replacing_folder(path) as beside:
        write_json(beside / "configs" / "metadata.json", _metadata(model))
        write_json(beside / "configs" / "inference.json", _inference(model))
        write_weights(beside / "models" / "model.pt", weights)
        described = read_json(beside / "configs" / "inference.json")["network_def"]["description"]
        network = bundled.network(described)
        network.load_state_dict(load_tensors(beside / "models" / "model.pt"))

        def run(image: Array) -> Array:
            with torch.inference_mode():
                logits: Array = network(torch.from_numpy(image)).numpy()
            return logits

        spec, plan = model.checkpoint.network, model.plan
        patch = spec.patch_rule.fit([min(axis, _CHECKED_VOXELS) for axis in plan.patch_voxels])
        agreement = compare(
            build_network(model.checkpoint), run, [make_image(spec, patch)], activation_of(plan)
        )
        agreement.check(str(path))
        return str(agreement)


def _metadata(model: Model) -> dict[str, Any]:
    plan, facts = model.plan, describe_model(model)
    names = [output["name"] for output in facts["outputs"]]
    data = {"type": "image", "dtype": "float32", "spatial_shape": _shape(model)}
    image = {
        **data,
        "format": "magnitude",
        "modality": ", ".join(plan.channels),
        "num_channels": len(plan.channels),
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(plan.channels)},
    }
    logits = {
        **data,
        "format": "segmentation",
        "num_channels": len(names),
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): name for index, name in enumerate(names)},
    }
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by mednext {__version__}"},
        "monai_version": _MONAI,
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"mednext": __version__},
        "name": f"{plan.dataset} {model.checkpoint.network.name}",
        "task": f"segmentation of {', '.join(name for name in names if name != 'background')}",
        "description": "A network that mednext trained; input and output are described below.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": logits}},
        "mednext": facts,
    }


def _shape(model: Model) -> list[Any]:
    """Lengths that the network takes for certain, as MONAI spells them."""
    rule = model.checkpoint.network.patch_rule
    if rule.fixed is not None:
        return list(rule.fixed)
    least = max(*rule.divisors, *rule.smallest)
    steps = [-(-least // divisor) * divisor for divisor in rule.divisors]
    return [*(1,) * (3 - rule.dimensions), *(f"{step}*n" for step in steps)]


def _inference(model: Model) -> dict[str, Any]:
    plan = model.plan.model_dump(mode="json")
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/predictions'",
        "images": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": f"{_MODULE}.network",
            "description": model.checkpoint.network.dump(),
        },
        "weights": "$torch.load(@bundle_root + '/models/model.pt', weights_only=True)",
        "network": "$@network_def.to(@device)",
        "load_weights": "$@network.load_state_dict(@weights)",
        "normalisation": {
            "_target_": f"{_MODULE}.Normalisation",
            "channels": plan["normalisation"],
        },
        "label_map": {"_target_": f"{_MODULE}.LabelMap", "labels": plan["label_set"]},
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing(model.plan)},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": plan["patch_voxels"],
            "overlap": model.overlap,
            "mode": "gaussian",
        },
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing(model.plan)},
        "prepared": "$(@preprocessing({'image': path}) for path in @images)",
        "run": [
            "$@load_weights",
            "$[@postprocessing({**case, 'pred': @inferer(case['image'][None].to(@device), "
            "@network)[0].detach().cpu()}) for case in @prepared]",
        ],
    }


def _preprocessing(plan: Plan) -> list[dict[str, Any]]:
    def on_image(target: str, /, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - plain values
        return {"_target_": target, "keys": "image", **options}

    return [
        on_image("LoadImaged"),
        on_image("EnsureChannelFirstd"),
        on_image("Orientationd", axcodes="".join(plan.turn.triple(_CANONICAL)), labels=None),
        on_image("CropForegroundd", source_key="image", select_fn="$lambda image: image != 0"),
        on_image("Spacingd", pixdim=list(plan.turn.triple(plan.spacing_mm)), mode="bilinear"),
        on_image("Lambdad", func="@normalisation", track_meta=False),
    ]


def _postprocessing(plan: Plan) -> list[dict[str, Any]]:
    def on_logits(target: str, /, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - plain values
        return {"_target_": target, "keys": "pred", **options}

    return [
        on_logits("Activationsd", **{activation_of(plan): True}),
        on_logits(
            "Invertd",
            transform="@preprocessing",
            orig_keys="image",
            nearest_interp=False,
            to_tensor=True,
        ),
        on_logits("Lambdad", func="@label_map"),
        on_logits(
            "SaveImaged",
            output_dir="@output_dir",
            output_postfix="",
            separate_folder=False,
            output_dtype="$torch.int32",
            resample=False,
        ),
    ]
