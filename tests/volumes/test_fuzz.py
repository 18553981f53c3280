"""Damaged NIfTI, FreeSurfer, NRRD and MetaImage files are read, or refused in one line."""

import gzip
import random
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from mednext_cli.foundation.errors import MednextError
from mednext_cli.volumes.scans import (
    format_of,
    read_grid,
    read_label_map,
    read_volume,
    write_label_map,
)
from tests.fuzzing import damaged_bytes, limits, only_ours, seeds
from tests.volumes.headers import OBLIQUE, VOXELS, affine_of, write_header

GOOD = affine_of((2, 0, 1), (-1, 1, 1), OBLIQUE)
BITS = ("<f4", "<f8", "<i2", "<i4", "<i8")
NUMBERS = (0, 1, -1, 2, 0.5, 1e30, -1e30, np.nan, np.inf, -np.inf, 32767, -32768, 348, 1e-40, 255)


def read_all(path: Path, seed: object) -> None:
    """Everything that is done with a scan; what can be read can also be written like."""
    with limits():
        for read in (read_grid, read_volume, read_label_map, format_of(path).notes):
            with only_ours((path.name, seed)):
                read(path)
        with only_ours((path.name, seed)):
            try:
                grid = read_grid(path)
            except MednextError:
                grid = read_grid(path, 0)
            label = path.with_name("label.nii")
            write_label_map(label, np.zeros(grid.shape, np.uint8), path)
            assert read_grid(label).same_as(grid, 0.02), (path.name, seed)


def mutated_header(content: bytes, kind: Any, seed: int) -> bytes:
    """One to three fields of the header overwritten by numbers that matter, or by any bytes."""
    chance = random.Random(seed)
    damaged = bytearray(content)
    dtype = kind.template_dtype
    for _ in range(chance.choice((1, 1, 2, 3))):
        field, start = dtype.fields[chance.choice(dtype.names)]
        base, count = (field.subdtype[0], field.itemsize // field.subdtype[0].itemsize) if (
            field.subdtype
        ) else (field, 1)  # fmt: skip
        at = start + base.itemsize * chance.randrange(count)
        if chance.random() < 0.3 or base.kind == "S":
            damaged[at : at + base.itemsize] = chance.randbytes(base.itemsize)
            continue
        with np.errstate(all="ignore"):
            value = np.array(chance.choice(NUMBERS)).astype(base)
        damaged[at : at + base.itemsize] = value.tobytes()
    return bytes(damaged)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_fields_of_nifti_headers(tmp_path: Path, kind: Any) -> None:
    forms: dict[str, Any] = {"sform": (GOOD, 1), "qform": (GOOD, 1), "kind": kind}
    whole = write_header(tmp_path / "whole.nii", **forms).read_bytes()
    for seed in seeds(150):
        content = mutated_header(whole, kind.header_class, seed)
        path = tmp_path / ("a.nii.gz" if seed % 3 == 0 else "a.nii")
        path.write_bytes(gzip.compress(content, 1) if seed % 6 == 0 else content)
        read_all(path, seed)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mgz", ".mgh"])
def test_bytes_of_files_that_nibabel_writes(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    if ending.startswith(".mg"):
        nibabel.save(nibabel.MGHImage(VOXELS, GOOD.astype(np.float32)), path)
    else:
        nibabel.save(nibabel.Nifti1Image(VOXELS, GOOD), path)
    whole = path.read_bytes()
    for seed in seeds(60):
        path.write_bytes(damaged_bytes(whole, seed))
        read_all(path, seed)


@pytest.mark.parametrize("ending", [".hdr", ".img"])
def test_bytes_of_pairs(tmp_path: Path, ending: str) -> None:
    nibabel.save(nibabel.Nifti1Pair(VOXELS, GOOD), tmp_path / "a.hdr")
    path = tmp_path / f"a{ending}"
    whole = path.read_bytes()
    for seed in seeds(30):
        path.write_bytes(damaged_bytes(whole, seed))
        read_all(tmp_path / "a.hdr", seed)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_text_headers_of_itk(tmp_path: Path, ending: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    image = itk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 1.3))
    path = tmp_path / f"a{ending}"
    itk.WriteImage(image, str(path), useCompression=ending == ".nrrd")
    whole = path.read_bytes()
    header = whole[: 600 if ending == ".mha" else 300]
    for seed in seeds(60):
        path.write_bytes(damaged_bytes(header, seed) + whole[len(header) :])
        read_all(path, seed)


def test_bombs_are_stopped_at_what_the_header_claims(tmp_path: Path) -> None:
    """A gzip of 2 GiB of zeros behind a small scan, in the same member and in others."""
    whole = write_header(tmp_path / "whole.nii", sform=(GOOD, 1)).read_bytes()
    zeros = gzip.compress(bytes(2**26))
    for content in (gzip.compress(whole) + zeros * 32, gzip.compress(whole + bytes(2**28), 1)):
        path = tmp_path / "a.nii.gz"
        path.write_bytes(content)
        with limits(seconds=5, gib=0.1):
            assert np.array_equal(read_volume(path).array, VOXELS)
            assert np.array_equal(read_label_map(path).array, VOXELS)


def test_what_follows_a_gzip_and_gzips_of_several_members(tmp_path: Path) -> None:
    whole = write_header(tmp_path / "whole.nii", sform=(GOOD, 1)).read_bytes()
    packed, path = gzip.compress(whole), tmp_path / "a.nii.gz"
    parts = gzip.compress(whole[:100]) + gzip.compress(whole[100:500]) + gzip.compress(whole[500:])
    spread = gzip.compress(whole[:500]) + bytes(40) + gzip.compress(whole[500:])
    for content in (packed + b"garbage", packed + bytes(1000), packed + packed[:20], parts, spread):
        path.write_bytes(content)
        assert np.array_equal(read_volume(path).array, VOXELS)
    damaged = bytearray(packed)
    damaged[-7] ^= 1  # of the checksum
    for content in (bytes(damaged), bytes(damaged) + packed, parts[:-3], parts[:-60]):
        path.write_bytes(content)
        with pytest.raises(MednextError, match="damaged"):
            read_volume(path)
