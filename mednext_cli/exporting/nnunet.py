"""nnU-Net's networks as a trained model of nnU-Net v2: dataset.json, plans.json and a checkpoint.

The form is what `nnUNetPredictor.initialize_from_trained_model_folder` of nnU-Net 2.8.1 reads.
"""

import re
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from pydoc import locate
from typing import Any

import torch

from mednext_cli import __version__
from mednext_cli.exporting.checking import Array, compare, make_image
from mednext_cli.exporting.folders import replacing_folder
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.files import make_folder, read_json, replacing, write_json
from mednext_cli.inference.engine import activation_of
from mednext_cli.inference.models import Model
from mednext_cli.networks.baselines.nnunet.settings import NnUNetSettings, of_stages
from mednext_cli.networks.building import without_counters
from mednext_cli.networks.checkpoint import build_network
from mednext_cli.settings.plan import ChannelNormalisation

SUFFIX = "_nnunet"
_LIBRARY = "dynamic_network_architectures.architectures.unet"
_CLASSES = {"nnunet": "PlainConvUNet", "nnunet_resenc": "ResidualEncoderUNet"}
_CONFIGURATION, _PLANS, _TRAINER = "3d_fullres", "nnUNetPlans", "nnUNetTrainer"
_SCHEMES = {
    "ct": "CTNormalization",
    "z_score": "ZScoreNormalization",
    "rescale": "RescaleTo01Normalization",
    "none": "NoNormalization",
}
_IMPORTED = ("conv_op", "norm_op", "dropout_op", "nonlin")
_CHECKED_VOXELS = 64


def write(model: Model, path: Path) -> str:
    """Write the folder, and compare the network that its plans describe before it is kept.

    Returns:
        What was checked.

    Raises:
        SettingsError: nnU-Net has no such network or labels, or computes something else.
        StorageError: the disk refuses.
    """
    settings = _check(model)
    network, plan = model.checkpoint.network, model.plan
    ours = build_network(model.checkpoint)
    weights = network.family.publish(settings, without_counters(model.checkpoint.state_dict))
    with replacing_folder(path) as beside:
        write_json(beside / "dataset.json", _dataset(model))
        write_json(beside / "plans.json", _plans(model, settings))
        fold = beside / f"fold_{_fold(model.path)}"
        make_folder(fold)
        _write_checkpoint(fold / "checkpoint_final.pth", model, weights)
        theirs = _build(beside, fold, len(plan.channels), network.out_channels)

        def run(image: Array) -> Array:
            with torch.inference_mode():
                logits: Array = theirs(torch.from_numpy(image)).numpy()
            return logits

        patch = network.patch_rule.fit([min(axis, _CHECKED_VOXELS) for axis in plan.patch_voxels])
        agreement = compare(ours, run, [make_image(network, patch)], activation_of(plan))
        agreement.check(str(path))
        return str(agreement)


def _check(model: Model) -> NnUNetSettings:
    """The settings of a network and labels that nnU-Net has, too."""
    network, labels = model.checkpoint.network, model.plan.label_set
    settings = network.settings
    if not isinstance(settings, NnUNetSettings) or network.name not in _CLASSES:
        raise SettingsError(
            f"{model.path} is of network {network.name}: nnU-Net v2 builds its own networks from "
            f"its plans ({', '.join(_CLASSES)} here) and has no other",
            "Use --to onnx or monai-bundle.",
        )
    if settings.dimensions != 3:
        raise SettingsError(
            f"{model.path} is a network of slices, which is not written for nnU-Net",
            "Use --to onnx or monai-bundle.",
        )
    if labels.region_training:
        if not any(len(set(values)) > 1 for values in labels.regions.values()):
            raise SettingsError(
                f"{model.path} predicts regions of one label each, which nnU-Net would take for "
                "classes that exclude each other",
                "Use --to onnx or monai-bundle.",
            )
    elif labels.class_values != tuple(range(len(labels.class_values))):
        raise SettingsError(
            f"{model.path} has the label values {', '.join(map(str, labels.class_values))}, and "
            "nnU-Net knows 0, 1, 2, ... without gaps",
            "Use --to onnx or monai-bundle.",
        )
    return settings


def _fold(path: Path) -> str:
    """Of its run folder; of a file elsewhere nnU-Net's first."""
    match = re.fullmatch(r"fold([0-9]+|all)", path.parent.name)
    return match[1] if match else "0"


def _dataset(model: Model) -> dict[str, Any]:
    labels = model.plan.label_set
    origin = model.checkpoint.origin
    content: dict[str, Any] = {
        "channel_names": {str(index): name for index, name in enumerate(model.plan.channels)},
        "labels": {"background": 0, **labels.names},
        "numTraining": len(origin.training_cases) if origin else 0,
        "file_ending": ".nii.gz",
        "description": f"exported by mednext {__version__}",
    }
    if labels.region_training:
        regions = {name: list(values) for name, values in labels.regions.items()}
        content["labels"] = {"background": 0, **regions}
        content["regions_class_order"] = list(labels.region_values)
    return content


def _plans(model: Model, settings: NnUNetSettings) -> dict[str, Any]:
    plan = model.plan
    shape = list(plan.patch_voxels)  # of the median case nobody knows more
    return {
        "dataset_name": plan.dataset,
        "plans_name": _PLANS,
        "original_median_spacing_after_transp": list(plan.spacing_mm),
        "original_median_shape_after_transp": shape,
        # Inferior to superior, posterior to anterior, left to right, as our networks see scans.
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {_CONFIGURATION: _configuration(model, settings, shape)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(index): _intensities(channel) for index, channel in enumerate(plan.normalisation)
        },
    }


def _configuration(model: Model, settings: NnUNetSettings, shape: list[int]) -> dict[str, Any]:
    plan = model.plan
    resampling = {"order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    return {
        "data_identifier": f"{_PLANS}_{_CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": plan.batch_size,
        "patch_size": list(plan.patch_voxels),
        "median_image_size_in_voxels": shape,
        "spacing": list(plan.spacing_mm),
        "normalization_schemes": [_SCHEMES[channel.scheme] for channel in plan.normalisation],
        "use_mask_for_norm": [channel.use_nonzero_mask for channel in plan.normalisation],
        "resampling_fn_data": function,
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **resampling},
        "resampling_fn_seg": function,
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **resampling},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **resampling},
        "architecture": _architecture(model.checkpoint.network.name, settings),
        "batch_dice": plan.batch_dice,
    }


def _architecture(name: str, settings: NnUNetSettings) -> dict[str, Any]:
    topology = settings.topology
    stages = len(topology.strides)
    blocks = "n_conv_per_stage" if name == "nnunet" else "n_blocks_per_stage"
    return {
        "network_class_name": f"{_LIBRARY}.{_CLASSES[name]}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(settings.widths),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [list(sizes) for sizes in topology.kernel_sizes],
            "strides": [list(strides) for strides in topology.strides],
            blocks: list(of_stages(settings.encoder_blocks, stages)),
            "n_conv_per_stage_decoder": list(of_stages(settings.decoder_blocks, stages - 1)),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": list(_IMPORTED),
    }


def _intensities(channel: ChannelNormalisation) -> dict[str, float]:
    """What nnU-Net's CT normalisation reads; other schemes do not look at it."""
    return {
        "mean": channel.mean,
        "std": channel.std,
        "percentile_00_5": channel.lower,
        "percentile_99_5": channel.upper,
    }


def _write_checkpoint(path: Path, model: Model, weights: Mapping[str, torch.Tensor]) -> None:
    content = {
        "network_weights": dict(weights),
        "optimizer_state": None,
        "grad_scaler_state": None,
        "trainer_name": _TRAINER,
        "init_args": {"configuration": _CONFIGURATION, "fold": _fold(model.path)},
        # As mednext predict mirrors; nnU-Net takes none for none, not an empty tuple.
        "inference_allowed_mirroring_axes": model.mirrored or None,
        "current_epoch": model.checkpoint.progress.epochs,
    }
    buffer = BytesIO()  # in memory first: torch turns a full disk into errors that do not say so
    torch.save(content, buffer)
    with replacing(path) as beside:
        beside.write_bytes(buffer.getvalue())


def _build(folder: Path, fold: Path, channels: int, outputs: int) -> torch.nn.Module:
    """The network as nnU-Net builds it of these files, in evaluation mode."""
    described = read_json(folder / "plans.json")["configurations"][_CONFIGURATION]["architecture"]
    arguments = dict(described["arch_kwargs"])
    for name in described["_kw_requires_import"]:
        arguments[name] = arguments[name] and locate(arguments[name])
    kind: Any = locate(described["network_class_name"])
    network: torch.nn.Module = kind(
        input_channels=channels, num_classes=outputs, deep_supervision=False, **arguments
    )
    content = torch.load(fold / "checkpoint_final.pth", weights_only=True)
    network.load_state_dict(content["network_weights"])
    return network.eval()
