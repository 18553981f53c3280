"""An experiment has many runs; the processes of torchrun are one."""

from pathlib import Path

import pytest

from mednext_cli.experiments.plan import ExperimentSpec
from mednext_cli.experiments.run import experiment
from mednext_cli.foundation.errors import SettingsError


def test_torchrun_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingsError, match="train one network"):
        experiment(ExperimentSpec("tournament", out=tmp_path / "out"))
    assert not list(tmp_path.iterdir())
