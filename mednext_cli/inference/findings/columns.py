"""The columns of volumes.csv and postprocessed.csv."""

from mednext_cli.foundation.columns import Column, Table

MEAN, DEVIATION = "intensity_mean_CHANNEL", "intensity_sd_CHANNEL"
_NOWHERE = "nan"
_EDGE = "of the outermost voxels' edges, in the scan's own world (RAS)."
VOLUMES = Table(
    "volumes.csv",
    "One row per case and structure, by `mednext predict --statistics`; the rows of each case also "
    "in `volumes/CASE.csv`. Counted on the label map as it is written, after post-processing and "
    "`--only`; a structure that was not found has a row, too.",
    (
        Column("case", "Case id."),
        Column("structure", "Name of the label."),
        Column("label", "Its value in the label map."),
        Column("voxels", "How many.", "", "0"),
        Column("volume_ml", "Voxels times the volume of one.", "ml", "0"),
        Column(MEAN, "Mean of the scan's intensities as stored (CT: HU).", "", _NOWHERE),
        Column(
            DEVIATION,
            "Their standard deviation over the voxels (divided by their number: 0 for one voxel).",
            "",
            _NOWHERE,
        ),
        Column("left_mm", f"Least x {_EDGE}", "mm", _NOWHERE),
        Column("right_mm", f"Largest x {_EDGE}", "mm", _NOWHERE),
        Column("posterior_mm", f"Least y {_EDGE}", "mm", _NOWHERE),
        Column("anterior_mm", f"Largest y {_EDGE}", "mm", _NOWHERE),
        Column("inferior_mm", f"Least z {_EDGE}", "mm", _NOWHERE),
        Column("superior_mm", f"Largest z {_EDGE}", "mm", _NOWHERE),
    ),
    digits=7,
)
EXTENT = VOLUMES.names[-6:]


def volumes_of(channels: tuple[str, ...]) -> Table:
    """volumes.csv of scans with these channels."""
    table = VOLUMES
    for column in (MEAN, DEVIATION):
        table = table.expand(column, [intensity(column, channel) for channel in channels])
    return table


def intensity(column: str, channel: str) -> str:
    """The name of `MEAN` or `DEVIATION` for a channel."""
    return column.replace("CHANNEL", channel)
