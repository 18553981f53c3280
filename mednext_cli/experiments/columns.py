"""The columns of an experiment's CSV files."""

from mednext_cli.foundation.columns import LARGER, SMALLER, Column, Table

SCORES: tuple[Column, ...] = (
    Column(
        "dice",
        "Dice: mean over the fold's cases, each predicted whole.",
        "0 to 1",
        "cases with both masks empty are left out",
        LARGER,
    ),
    Column(
        "surface_dice",
        "Surface Dice at the tolerance of the dataset's layout, likewise.",
        "0 to 1",
        "cases with both masks empty are left out",
        LARGER,
    ),
    Column(
        "hd95_mm",
        "Hausdorff distance at 95 %, likewise.",
        "mm",
        "cases with an empty mask are left out",
        SMALLER,
    ),
)
EXPERIMENT = Table(
    "experiment.csv",
    "One row per arm, seed, fold and region, by `mednext experiment`. A run that is not whole has "
    "one row without scores.",
    (
        Column("arm", "Of the experiment, as the recipe names it."),
        Column("seed", "Of weights and patches."),
        Column("fold", "That is scored, and not trained on."),
        Column(
            "status", "ok; missing: not run, or not to its end; failed: it will be tried again."
        ),
        Column("dataset", "That is scored."),
        Column("region", "Region, or overall: the mean over the regions."),
        *SCORES,
        Column("cases", "That were scored."),
        Column("network", "Label of the network, as its run folder has it."),
        Column("parameters", "Trainable, heads for deep supervision included."),
        Column("multiply_adds", "Of one forward pass of one training patch, see scale_report.csv."),
        Column(
            "minutes",
            "Of training steps and of waiting for their batches, validation apart.",
            "min",
        ),
        Column(
            "charged_minutes", "The same with those of the arms that the arm starts from.", "min"
        ),
        Column(
            "peak_gib",
            "Largest memory of the run's last process: on a GPU what PyTorch took of it, else all "
            "of the process, without the workers that prepare batches.",
            "GiB",
        ),
        Column("steps", "Of the optimiser."),
        Column("device", "That it was trained on."),
        Column("threads", "That computed, on a CPU; else 0."),
    ),
    digits=6,
)
COMPARISON = Table(
    "comparison.csv",
    "One row per metric, region and pair of arms, by `mednext experiment`. The unit is the case: "
    "its scores are averaged over the seeds that both arms have, and never counted once a seed. "
    "A pair of which an arm is not run has no numbers.",
    (
        Column("metric", "A score of experiment.csv."),
        Column("region", "Region, or overall: the mean over the regions of each case."),
        Column("arm", "The later one of the recipe."),
        Column("against", "The earlier one; first in the table are the pairs with the first arm."),
        Column("cases", "That both arms have scores for."),
        Column("seeds", "That both arms have for these cases."),
        Column("difference", "Mean over the cases of arm less against.", "the metric's"),
        Column(
            "ci95_low",
            "Lower end of its 95 % percentile interval: 2,000 seeded bootstrap samples of the "
            "cases; nan for one case.",
            "the metric's",
        ),
        Column("ci95_high", "Upper end of that interval.", "the metric's"),
        Column(
            "spread_over_seeds",
            "Sample standard deviation over seeds of the difference of each; nan for one seed.",
            "the metric's",
        ),
        Column("better_cases", "In which the arm is better."),
        Column("worse_cases", "In which it is worse."),
        Column(
            "p",
            "Two-sided Wilcoxon signed-rank test over the cases, equal ones left out; nan where "
            "none differs.",
        ),
        Column("p_holm", "p after Holm's correction over all pairs of the metric and region."),
    ),
    digits=6,
)
TRANSFER = Table(
    "transfer.csv",
    "One row per arm, seed, fold, number of training cases and region, by `mednext experiment` "
    "where the recipe has a [transfer]. A run that is not whole has one row without scores.",
    (
        Column("arm", "Of the experiment, trained on its dataset."),
        Column("seed", "Of weights, patches, and of which cases are drawn."),
        Column("fold", "Of the other dataset, that is scored, and of the experiment's."),
        Column("training_cases", "Of the other dataset, that the arm was fine-tuned on; 0: none."),
        Column(
            "status", "ok; missing: not run, or not to its end; failed: it will be tried again."
        ),
        Column("dataset", "The other one, that is scored."),
        Column("region", "Region that both datasets name, or overall: the mean over the regions."),
        *SCORES,
        Column("minutes", "Of fine-tuning, as in experiment.csv.", "min"),
        Column("steps", "Of fine-tuning."),
    ),
    digits=6,
)
TRANSFER_COMPARISON = Table(
    "transfer_comparison.csv",
    "One row per number of training cases, metric, region and pair of arms, by `mednext "
    "experiment` where the recipe has a [transfer]: comparison.csv on the other dataset. Holm's "
    "correction is over the pairs of one number of training cases.",
    (
        Column("training_cases", "Of the other dataset, that both arms were fine-tuned on."),
        *COMPARISON.columns,
    ),
    digits=6,
)
