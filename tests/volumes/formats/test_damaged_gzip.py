"""A gzip whose checksum does not fit its content is damaged, even where every voxel can be read."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.foundation.errors import ScanError
from mednext_cli.volumes.scans import read_label_map, read_volume


@pytest.mark.parametrize("damage", ["checksum", "cut off", "unknown type", "complex"])
def test_damage_is_noticed(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "scan.nii.gz"
    voxels = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10)
    dtype = np.complex64 if damage == "complex" else np.int16
    image = nib.Nifti1Image(voxels.astype(dtype), np.eye(4))
    if damage == "unknown type":
        path = tmp_path / "scan.nii"
        content = bytearray(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())
        content[70:72] = (1234).to_bytes(2, "little")
        path.write_bytes(content)
    else:
        nib.save(image, path)
    content = bytearray(path.read_bytes())
    if damage == "checksum":
        content[-6] ^= 1
    path.write_bytes(content[:-4] if damage == "cut off" else content)
    for read in (read_volume, read_label_map):
        with pytest.raises(ScanError, match=path.name):
            read(path)
