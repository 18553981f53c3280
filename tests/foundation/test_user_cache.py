"""The folder for what can be made again."""

from pathlib import Path

import pytest

from mednext_cli.foundation.user_cache import user_cache_folder


@pytest.mark.parametrize(
    ("system", "environment", "folder"),
    [
        ("linux", {}, "home/.cache/mednext"),
        ("linux", {"XDG_CACHE_HOME": ""}, "home/.cache/mednext"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/mednext"),
        ("linux", {"XDG_CACHE_HOME": "/scratch"}, "/scratch/mednext"),
        ("darwin", {}, "home/Library/Caches/mednext"),
        ("darwin", {"XDG_CACHE_HOME": "/scratch"}, "/scratch/mednext"),
        ("win32", {}, "home/AppData/Local/mednext/Cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mednext/Cache"),
    ],
)
def test_every_system_has_its_own(monkeypatch, tmp_path, system, environment, folder):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert user_cache_folder(environment, system) == tmp_path / Path(folder)
