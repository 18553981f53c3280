from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mednext_cli"


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout; tests of what only a checkout has skip in an installed copy."""
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout around the tests")
    return ROOT


def python_files(*folders: str) -> list[Path]:
    """All Python files below folders of the checkout."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
