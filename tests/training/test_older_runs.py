"""A run that an older mednext began goes on, and is of this version from then on."""

from pathlib import Path

import pytest

from mednext_cli.networks.checkpoint import load_checkpoint
from tests.networks.archives import read_content
from tests.settings import version_1
from tests.training.conftest import NAME, Train


@pytest.mark.slow
def test_a_run_of_version_1_goes_on(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(settings=("training.epochs=1",)) == 0
    last = tmp_path / "runs" / NAME / "S-k3-w4" / "fold0" / "checkpoint_last.pt"
    begun = load_checkpoint(version_1.rewrite_checkpoint(last))
    capsys.readouterr()
    assert train("--extend") == 0
    assert f"{last}: {version_1.NOTE}" in capsys.readouterr().err
    assert read_content(last)["version"] == 2
    ended = load_checkpoint(last)
    assert (ended.origin, ended.plan) == (begun.origin, begun.plan)
    assert ended.progress.history[0] == begun.progress.history[0]
    assert [change.setting for change in ended.progress.changes] == ["training.epochs"]
    assert ended.finished
