"""The folder for what cannot be made again."""

from pathlib import Path

import pytest

from mednext_cli.foundation.user_data import user_data_folder


@pytest.mark.parametrize(
    ("system", "environment", "folder"),
    [
        ("linux", {}, "home/.local/share/mednext"),
        ("linux", {"XDG_DATA_HOME": ""}, "home/.local/share/mednext"),
        ("linux", {"XDG_DATA_HOME": "relative"}, "home/.local/share/mednext"),
        ("linux", {"XDG_DATA_HOME": "/scratch"}, "/scratch/mednext"),
        ("darwin", {}, "home/Library/Application Support/mednext"),
        ("darwin", {"XDG_DATA_HOME": "/scratch"}, "/scratch/mednext"),
        ("win32", {}, "home/AppData/Local/mednext/Data"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mednext/Data"),
    ],
)
def test_every_system_has_its_own(monkeypatch, tmp_path, system, environment, folder):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert user_data_folder(environment, system) == tmp_path / Path(folder)
