"""nnU-Net's own training for some minutes of processor time; runs in the peers' environment.

    nnUNet_raw=... nnUNet_preprocessed=... nnUNet_results=... python benchmarks/baselines_peer.py \
        --minutes 10 --seed 0

Network, plan, loss, augmentation and validation are nnU-Net's; only the end of training is not: the
rate falls by the share of the minutes instead of by epochs, as `training.minutes` has it.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

DATASET, PLANS, CONFIGURATION = "Dataset902_Hippocampus", "nnUNetPlans", "3d_fullres"
_LONGEST = 10**6  # epochs: the minutes end the run


class TimedTrainer(nnUNetTrainer):
    """Trains until the minutes are over; preparing batches counts, validation does not."""

    minutes = 10.0

    def run_training(self) -> None:
        """Steps without the validation between epochs, then nnU-Net's own on whole cases."""
        self.num_epochs = _LONGEST
        self.on_train_start()
        self.network.train()
        started, steps = time.process_time(), 0
        while (share := (time.process_time() - started) / (60 * self.minutes)) < 1:
            for group in self.optimizer.param_groups:
                group["lr"] = self.initial_lr * (1 - share) ** 0.9
            self.train_step(next(self.dataloader_train))
            steps += 1
        self.current_epoch = self.num_epochs - 1
        self.on_train_end()
        self.perform_actual_validation()
        done = {"steps": steps, "minutes": (time.process_time() - started) / 60}
        print(json.dumps({**done, "folder": self.output_folder}), flush=True)


def main() -> None:
    """Train fold 0 with one seed."""
    parser = argparse.ArgumentParser(description="nnU-Net for some minutes")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 - what nnU-Net draws from
    torch.set_num_threads(1)
    made = Path(nnUNet_preprocessed) / DATASET
    plans, dataset = (
        json.loads((made / name).read_text()) for name in (f"{PLANS}.json", "dataset.json")
    )
    plans["continue_training"] = False  # as its own start of training hands it over
    TimedTrainer.minutes = options.minutes
    trainer = TimedTrainer(plans, CONFIGURATION, 0, dataset, torch.device("cpu"))
    trainer.run_training()


if __name__ == "__main__":
    main()
