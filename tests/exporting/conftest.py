"""A small untrained network, saved as a checkpoint."""

from pathlib import Path

import pytest

from tests.inference.synthetic import save_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "run" / "one.pt", 0)
