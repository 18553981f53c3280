"""The columns of verify.csv and of the table that `mednext phantom` prints."""

from mednext_cli.foundation.columns import Column, Table

VERIFIED = Table(
    "verify.csv of a raw folder",
    "One row per case, by `mednext datasets verify RAW`. Its folder is `--out`; the same table is "
    "printed.",
    (
        Column("case", "Case id."),
        Column("labelled", "1 where it has a label map, else 0."),
        Column("shape", "Of the first readable channel, in the file's order of axes.", "voxels"),
        Column("spacing_mm", "The same axes.", "mm"),
        Column("minimum", "Lowest finite intensity of all channels."),
        Column("maximum", "Highest."),
        Column("label_values", "All values of the label map.", empty="0"),
        Column("problems", "What is wrong; nothing for a good case."),
        Column("notes", "What is odd, though the case can be used."),
    ),
)
PHANTOMS = Table(
    "mednext phantom",
    "One row per case, printed on stdout (tab-separated where that is no terminal).",
    (
        Column("case", "Case id, the name of its folder."),
        Column("shape", "Slices x rows x columns.", "voxels"),
        Column("spacing_mm", "The same axes.", "mm"),
        Column("kidney_ml", "Volume of the kidneys without tumours.", "ml"),
        Column("tumour_ml", "Volume of the tumours.", "ml", "0"),
        Column("tumours", "How many there are.", "", "0"),
    ),
)
