"""The tables of `mednext models`."""

from mednext_cli.foundation.columns import Column, Table

MODELS = Table(
    "mednext models ls",
    "One row per model that has a name, by `mednext models ls`; also the file that its `--out` "
    "names.",
    (
        Column("model", "Its name, for `mednext predict --model`."),
        Column("source", "The package that brings it, or the folder of the user's own models."),
        Column("description", "One sentence of its card."),
        Column("channels", "Of a scan, in order, separated by commas."),
        Column("classes", "What it finds, separated by commas."),
        Column("spacing_mm", "Scans are resampled to this: depth, height, width.", "mm"),
        Column(
            "held_out_dice",
            "Mean over the structures of the Dice that its card has of these very weights on cases "
            "they were not trained on.",
            "0 to 1",
        ),
        Column("licence", "Of the weights."),
    ),
    digits=6,
)
MODEL_CARD = Table(
    "mednext models show",
    "One row per fact about a model, by `mednext models show`; also the file that its `--out` "
    "names: where it lies, and all that its card says.",
    (
        Column("what", "Name of the fact; an entry of the card with its section."),
        Column("value", "Number or text."),
    ),
    digits=6,
)
