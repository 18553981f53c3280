from pathlib import Path

import pytest

from tests.training.synthetic import make_cache


@pytest.fixture(scope="session")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the cache of made-up cases."""
    return make_cache(tmp_path_factory.mktemp("boxes"))
