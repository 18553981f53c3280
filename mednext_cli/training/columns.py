"""The columns of log.csv."""

from mednext_cli.foundation.columns import Column, Table

DICE = "dice_REGION"
LOG = Table(
    "log.csv",
    "One row per epoch, by `mednext train`, in the folder of the fold. Losses and Dice of "
    "validation are those of random patches, the same after every epoch; nan without any.",
    (
        Column("epoch", "Epochs done, from 1."),
        Column("iteration", "Training steps done."),
        Column("learning_rate", "Of the epoch's last step."),
        Column("training_loss", "Mean over the epoch's steps, without skipped ones."),
        Column("validation_loss", "Mean over the batches of validation."),
        Column(
            DICE,
            "Dice of each region or label, over the voxels of all patches of validation together.",
            "0 to 1",
            "nan where it is in no patch and was not predicted",
        ),
        Column("dice_mean", "Mean of these.", "0 to 1", "nan where all are"),
        Column(
            "dice_moving",
            "Moving average of dice_mean, by which the best checkpoint is chosen.",
            "0 to 1",
            "as before where dice_mean is nan",
        ),
        Column("skipped_steps", "The epoch's steps left out: loss or gradients were not finite."),
        Column("seconds", "Of running, interruptions left out, since the run began.", "s"),
        Column("step_seconds", "Of the epoch's steps, waiting for their batches included.", "s"),
        Column(
            "wait_seconds",
            "Of these, waiting for batches, or making them where no workers do.",
            "s",
        ),
        Column("patches_per_second", "Patches trained on in a second of the epoch's steps.", "1/s"),
        Column(
            "memory_gib",
            "Most memory so far: of the GPU; without one, of this process.",
            "GiB",
        ),
    ),
    digits=6,
)
PROFILE = Table(
    "mednext train --profile",
    "One row per part of a training step, by `mednext train --profile STEPS`; also the file that "
    "`--profile-out` names. Seconds are medians over the steps, the first three left out; the "
    "device is waited for after each part.",
    (
        Column(
            "part",
            "data: waiting for a batch, or making it where no workers do; forward, with the loss; "
            "backward; optimiser, with clipping; step: their sum.",
        ),
        Column("seconds", "Of a step.", "s"),
        Column("share", "Of the sum.", "0 to 1"),
    ),
    digits=6,
)
DICE_OF_FOLD = "dice_foldN"
CROSS_VALIDATION = Table(
    "cross_validation.csv",
    "One row per region, by `mednext train --fold cv` (or a list of folds), in the folder of the "
    "folds: Dice of whole validation cases. Deviations are those of samples; undefined values are "
    "left out.",
    (
        Column("region", "Region, or overall: the mean over the regions."),
        Column(DICE_OF_FOLD, "Mean over the cases of each fold that was trained.", "0 to 1"),
        Column("mean", "Mean of the folds' means.", "0 to 1"),
        Column("standard_deviation_folds", "Of the folds' means; nan for one fold.", "0 to 1"),
        Column(
            "mean_cases",
            "Mean over the cases of all folds together; overall, the mean of the regions' means.",
            "0 to 1",
        ),
        Column(
            "standard_deviation_cases",
            "Over these cases; overall, of their means over regions.",
            "0 to 1",
        ),
        Column("cases", "Cases whose Dice is defined."),
    ),
    digits=6,
)
