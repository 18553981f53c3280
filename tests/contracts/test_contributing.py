"""CONTRIBUTING's network, taken literally: written down, registered, and found by the commands."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.plugins import find_plugins
from mednext_cli.networks.building import build_plain
from mednext_cli.networks.spec import describe_network


def _code(root: Path) -> str:
    """The first block of code in "Add a network"."""
    text = (root / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a network\n")[2]
    lines = text[text.index("        from typing") :].split("\n")
    block = [line for line in lines if line.startswith(" " * 8) or not line.strip()]
    end = next(number for number, line in enumerate(lines) if line and not line.startswith(" " * 8))
    return textwrap.dedent("\n".join(block[:end]))


@pytest.fixture
def toy(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The network in a package of its own."""
    (tmp_path / "mednext_toy.py").write_text(_code(root))
    information = tmp_path / "mednext_toy-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: mednext-toy\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[mednext.networks]\ntoy = mednext_toy:FAMILY\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    find_plugins.cache_clear()
    yield
    find_plugins.cache_clear()


@pytest.mark.usefixtures("toy")
def test_the_network_of_contributing_works(capsys: pytest.CaptureFixture[str]) -> None:
    spec = describe_network("toy", 2, 3, width=4)
    assert build_plain(spec)(torch.randn(1, 2, 4, 6, 2)).shape == (1, 3, 4, 6, 2)
    assert not spec.deep_supervision
    settings = ["--set", "model.network=toy", "--set", "model.toy.width=16"]
    assert main(["recipes", "check", "mednext", *settings]) == 0
    assert "toy-w16" in capsys.readouterr().out
    assert main(["recipes", "check", "mednext", *settings, "--set", "model.toy.wide=1"]) == 2
    assert "unknown key model.toy.wide, did you mean model.toy.width?" in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_what_a_family_lacks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    check = ["recipes", "check", "mednext", "--set", "model.network=toy"]
    assert main([*check, "--set", "model.deep_supervision=true"]) == 2
    assert "network toy has no heads for deep supervision" in capsys.readouterr().err
    assert main(["train", "nothing", *check[3:], "--kernel", "5"]) == 2
    assert "--kernel: is of another network, the recipe's is toy" in capsys.readouterr().err
