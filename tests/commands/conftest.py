import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mednext_cli.foundation.plugins import find_plugins

PLUGIN_PACKAGES = Path(__file__).parents[1] / "plugin_packages"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_with_plugins() -> Run:
    """Run `mednext` in a process of its own, with stranger's packages on its path (no pip)."""

    def run(
        *arguments: str, packages: tuple[str, ...] = (), selection: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        folders = [str(PLUGIN_PACKAGES / name) for name in packages]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders), "COLUMNS": "160"}
        environment.pop("MEDNEXT_PLUGINS", None)
        if selection is not None:
            environment["MEDNEXT_PLUGINS"] = selection
        command = [sys.executable, "-m", "mednext_cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands of `raising`, in this process."""
    yield from _installed("raising", monkeypatch)


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All that `good` brings, in this process."""
    yield from _installed("good", monkeypatch)


def _installed(package: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(PLUGIN_PACKAGES / package))
    find_plugins.cache_clear()
    yield
    find_plugins.cache_clear()
