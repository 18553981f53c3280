"""The label map of a case, however its layout stores it."""

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.masks import merge_masks
from mednext_cli.volumes.scans import read_label_map
from mednext_cli.volumes.volume import Grid, Volume

_MOST_NAMED = 3


def read_case_label(case: Case, like: Grid | None) -> tuple[Volume, tuple[str, ...]]:
    """The label map of a labelled case, and notes about it, a line each.

    Args:
        case: with a label.
        like: grid of its scan, which an empty label map of no masks gets.

    Raises:
        ScanError: it cannot be read, or the case has none.
    """
    if case.label is None:
        raise ScanError(f"{case.id} has no label map")
    if case.masks is None:
        volume = read_label_map(case.label)
        return volume, volume.notes
    volume, overlaps = merge_masks([(case.label / name, value) for name, value in case.masks], like)
    if not overlaps:
        return volume, volume.notes
    listed = [f"{name} {count}" for name, count in overlaps.items()][:_MOST_NAMED]
    more = ", ..." if len(overlaps) > _MOST_NAMED else ""
    note = (
        f"masks overlap in {sum(overlaps.values())} voxels, which the later mask takes "
        f"({', '.join(listed)}{more})"
    )
    return volume, (*volume.notes, note)
