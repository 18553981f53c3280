"""What a cache folder holds and what its parts are called.

``CACHE/NAME/dataset.json`` (plan, fingerprint, cases), a ``CASE.h5`` for each case, and
``index.h5``, whose external links make ``h5py.File("index.h5")["CASE/image"]`` work.

A case file has the datasets ``image`` (C, D, H, W) float16 or float32, ``label`` (D, H, W) uint8
class indices, ``foreground/I`` (n, 3) voxels of class index I; and the attributes below.
"""

from pathlib import Path
from typing import Literal

FORMAT: Literal["mednext cache"] = "mednext cache"
IMAGE, LABEL, FOREGROUND = "image", "label", "foreground"
# Attributes of a case file.
KEY = "key"  # hash of everything the file was made from
GEOMETRY = "geometry"  # JSON, the way back to the scan's own grid
SOURCES = "sources"  # JSON, {"images": [paths], "label": path or null}
CHECKSUMS = "checksums"  # JSON, SHA-256 of each dataset's voxels
SEALED = "sealed"  # the file ends with a SHA-256 of all its bytes


def description_file(folder: Path) -> Path:
    """``dataset.json`` of a cache folder."""
    return folder / "dataset.json"


def case_file(folder: Path, case_id: str) -> Path:
    """The file of a case."""
    return folder / f"{case_id}.h5"


def index_file(folder: Path) -> Path:
    """``index.h5`` of a cache folder."""
    return folder / "index.h5"
