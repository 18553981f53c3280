"""The columns of postprocessed.csv and postprocessing.csv."""

from mednext_cli.foundation.columns import Column, Table

CHANGES = Table(
    "postprocessed.csv",
    "One row per case and step of the post-processing, by `mednext predict` with a model that has "
    "one; the rows of each case also in `postprocessed/CASE.csv`.",
    (
        Column("case", "Case id."),
        Column("structure", "Label, region, or foreground: all labels together."),
        Column("operation", "largest_component, minimum_volume or fill_holes."),
        Column("minimum_ml", "What a part must have to stay, under minimum_volume.", "ml"),
        Column("parts", "Connected parts removed, or holes filled."),
        Column("voxels", "In these."),
        Column("volume_ml", "Of these.", "ml"),
    ),
    digits=7,
)
_MEAN = "over cases, then over regions"
FITTED = Table(
    "postprocessing.csv",
    "One row per structure and kind of step that was tried, the best of its kind, by "
    "`mednext postprocess fit`; the last row, `all`, is what was kept together.",
    (
        Column("structure", "Label, region, or foreground: all labels together."),
        Column("operation", "largest_component, minimum_volume or fill_holes; empty: none helps."),
        Column("minimum_ml", "What a part must have to stay, under minimum_volume.", "ml"),
        Column("dice_before", f"Mean Dice before it, {_MEAN}.", "0 to 1"),
        Column("dice_after", f"Mean Dice with it, {_MEAN}.", "0 to 1"),
        Column(
            "dice_left_out",
            "Mean Dice where each fold's cases are treated as the other folds' would have it "
            "(without folds, every fifth case).",
            "0 to 1",
        ),
        Column("changed_cases", "Cases that it changes."),
        Column(
            "kept",
            "1 where it is stored: both means rise, and no region's falls; else 0.",
        ),
    ),
    digits=7,
)
