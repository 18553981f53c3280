"""Reference values: those beside the tests always, more of them where the real data is."""

import os
from pathlib import Path

import pytest

COMMITTED = Path(__file__).parent / "reference"
_DEFAULT = Path(__file__).parents[2] / "shared" / "data"
DATA = Path(os.environ.get("MEDNEXT_TEST_DATA", _DEFAULT))


def shared_reference() -> Path | None:
    """Outputs of the published peers beside the real data; None where there are none."""
    folder = DATA.parent / "reference"
    return folder if DATA.is_dir() and folder.is_dir() else None


def reference_files(folder: str, *names: str) -> list[object]:
    """The files of these names as parameters of a test: the committed ones, then the shared ones.

    Args:
        folder: below tests/reference and below the shared folder.
        names: of the files, without .npz; at least one of them is committed.
    """
    places = {"": COMMITTED, "shared-": shared_reference()}
    return [
        pytest.param(top / folder / f"{name}.npz", id=prefix + name)
        for prefix, top in places.items()
        for name in names
        if top and (top / folder / f"{name}.npz").is_file()
    ]


def with_real_data(*names: str) -> list[str]:
    """These parameters, and "real" where the real data is."""
    return [*names, *(["real"] if DATA.is_dir() else [])]
