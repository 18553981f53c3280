"""The tables of `mednext runs`."""

from mednext_cli.foundation.columns import Column, Table

RUN = "RUN"
RUNS = Table(
    "mednext runs ls",
    "One row per run below a folder, by `mednext runs ls`; also the file that its `--out` names.",
    (
        Column("run", "Its folder, below the one that was asked for."),
        Column("dataset", "What it is trained on."),
        Column("network", "The network's label."),
        Column("fold", "0, 1, ... or all."),
        Column(
            "state",
            "training: its schedule is not over; trained: it is; validated: its cases are scored.",
        ),
        Column("epochs", "Epochs done."),
        Column("of_epochs", "Epochs of its recipe; empty where minutes end the run."),
        Column("minutes", "Of running, interruptions left out, up to the last epoch.", "min"),
        Column(
            "patch_dice",
            "Largest moving average of the patch Dice, of the best checkpoint.",
            "0 to 1",
            "empty where no case validates",
        ),
        Column(
            "dice",
            "Mean over the regions of the Dice of whole cases, by the final weights.",
            "0 to 1",
            "empty until validated",
        ),
        Column("cases", "Whole cases that are scored."),
    ),
    digits=6,
)
SHOWN = Table(
    "mednext runs show",
    "One row per fact about a run, by `mednext runs show`; also the file that its `--out` names: "
    "the columns of `mednext runs ls`, Dice of each region, what was changed on the way, and the "
    "values of its recipe that no section has by itself.",
    (
        Column("what", "Name of the fact; a recipe's key with its section."),
        Column("value", "Number or text."),
    ),
    digits=6,
)
COMPARED = Table(
    "mednext runs compare",
    "One row per fact about runs, by `mednext runs compare`; also the file that its `--out` names: "
    "Dice of whole cases by region, minutes, and every value of the recipes that is not the same "
    "in all.",
    (
        Column("what", "Name of the fact; a recipe's key with its section."),
        Column(RUN, "What holds for this run; empty where there is no such value."),
    ),
    digits=6,
)
