"""Where the real data and the peers' reference values are found."""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real public data; its README says what and under which licence."""
    folder = Path(os.environ.get("MEDNEXT_TEST_DATA", _DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"no test data at {folder}: set MEDNEXT_TEST_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def reference_folder(data_folder: Path) -> Path:
    """Outputs of the published peers, beside the data."""
    folder = data_folder.parent / "reference"
    if not folder.is_dir():
        pytest.skip(f"no reference values at {folder}")
    return folder
