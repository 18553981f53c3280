"""Scans with headers as odd as tools leave them, field by field."""

from collections.abc import Mapping
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

SHAPE = (5, 6, 7)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
SPACING = (0.7, 0.8, 1.3)
ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
OBLIQUE = nibabel.eulerangles.euler2mat(0.2, -0.3, 0.1)  # type: ignore[no-untyped-call]


def affine_of(order: tuple[int, ...], signs: tuple[int, ...], turn: Any = None) -> np.ndarray:
    """One of the 48 ways to store an upright scan, or a turned one; half are left-handed."""
    affine = np.eye(4)
    upright = np.eye(3)[:, list(order)] * signs * SPACING
    affine[:3, :3] = upright if turn is None else turn @ upright
    affine[:3, 3] = (-12.5, 34.25, 5.75)
    return affine


def write_header(
    path: Path,
    sform: tuple[np.ndarray | None, int] = (None, 0),
    qform: tuple[np.ndarray | None, int] = (None, 0),
    fields: Mapping[str, Any] | None = None,
    voxels: np.ndarray = VOXELS,
    kind: Any = nibabel.Nifti1Image,
) -> Path:
    """A file with these forms and their codes; `fields` overwrite the header, unchecked.

    ``pixdim`` in `fields` is the three spacings; ``qfac`` is what stands before them.
    """
    image = kind(voxels, None)
    image.header["pixdim"][1:4] = SPACING
    if qform[0] is not None:
        image.set_qform(*qform)
    if sform[0] is not None:
        image.set_sform(*sform)
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = path.with_name(path.name.removesuffix(".gz"))
    nibabel.save(image, plain)
    content = bytearray(plain.read_bytes())
    header = np.frombuffer(content, dtype=image.header.template_dtype, count=1)[0:1]
    for name, value in (fields or {}).items():
        if name == "pixdim":
            header["pixdim"][0, 1:4] = value
        elif name == "qfac":
            header["pixdim"][0, 0] = value
        else:
            header[name] = value
    plain.unlink()
    with nibabel.openers.ImageOpener(path, "wb") as stream:
        stream.write(bytes(content))
    return path


def itk_grid(path: Path) -> np.ndarray | None:
    """The affine that ITK reads, in RAS; None where ITK does not read the file."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:3, :3]
    affine[:3, :3] *= reader.GetSpacing()[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]
    return np.diag([-1.0, -1, 1, 1]) @ affine
