"""nnU-Net's own plan of the hippocampus and a model with it, weights as drawn; the peers' Python.

Started by `predict_folder.py` with its folder, the features of the first stage, and the model's
folder.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
)
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

DATASET, CONFIGURATION = "Dataset902_Hippocampus", "3d_fullres"


def main() -> None:
    """Plan once, then write the model as nnU-Net's prediction takes it."""
    out, features, model = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    _plan(out)
    made = out / "preprocessed" / DATASET
    plans = json.loads((made / "nnUNetPlans.json").read_text())
    architecture = plans["configurations"][CONFIGURATION]["architecture"]
    stages = architecture["arch_kwargs"]["n_stages"]
    widths = [features * 2**stage for stage in range(stages)]
    architecture["arch_kwargs"]["features_per_stage"] = widths
    torch.manual_seed(0)
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        input_channels=1,
        output_channels=3,
        deep_supervision=False,
    )
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": CONFIGURATION},
        "inference_allowed_mirroring_axes": None,
    }
    (model / "fold_0").mkdir(parents=True)
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")
    shutil.copy(made / "dataset.json", model)
    (model / "plans.json").write_text(json.dumps(plans))


def _plan(out: Path) -> None:
    raw = out / "raw" / DATASET
    if (out / "preprocessed" / DATASET / "nnUNetPlans.json").exists():
        return
    description = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "anterior": 1, "posterior": 2},
        "numTraining": len(list((raw / "labelsTr").iterdir())),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    extract_fingerprints([902], num_processes=1)
    plan_experiments([902])


if __name__ == "__main__":
    main()
