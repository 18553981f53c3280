"""A label map brought onto another grid: the nearest voxel's label, no new labels."""

from dataclasses import replace

import numpy as np

from mednext_cli.volumes.volume import Grid, Volume


def regrid_labels(volume: Volume, grid: Grid) -> Volume:
    """Look every voxel centre of `grid` up in a label map; beyond its edge is background."""
    from scipy import ndimage

    matrix = np.linalg.inv(volume.affine) @ grid.affine
    array = ndimage.affine_transform(
        volume.array,
        matrix[:3, :3],
        offset=matrix[:3, 3],
        output_shape=grid.shape,
        order=0,
        mode="grid-constant",
        cval=0,
    )
    return replace(volume, array=array, affine=grid.affine)
