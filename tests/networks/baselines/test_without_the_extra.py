"""Where the extra `baselines` is not installed."""

from pathlib import Path

import pytest

from mednext_cli.foundation.plugin_check import check_plugins
from mednext_cli.foundation.plugins import find_plugins

_HIDE = """
from importlib.machinery import PathFinder

find_spec = PathFinder.find_spec
hidden = ("monai", "einops", "dynamic_network_architectures")
PathFinder.find_spec = lambda name, *rest: None if name in hidden else find_spec(name, *rest)
"""


def test_families_are_listed_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_HIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    checks = check_plugins(find_plugins("networks"))
    lacking = {name for name, check in checks.items() if check.error}
    assert lacking == {"nnunet", "nnunet_resenc", "swin_unetr", "unetr", "uxnet"}
    for name in lacking:
        assert checks[name].error == "needs pip install 'mednext[baselines]'"
