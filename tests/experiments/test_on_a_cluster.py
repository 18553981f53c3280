"""`--scheduler`: the runs of an experiment on the workers of a Dask cluster."""

from pathlib import Path

import pytest

from mednext_cli.app import main
from tests.experiments.synthetic import TINY, arguments, read_rows, write_recipe
from tests.preprocessing.test_scheduler import started_scheduler, worker
from tests.training.synthetic import NAME

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    # Sockets of the client are closed by its own event loop, some after the test.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ARMS = f"""
[transfer]
dataset = "{NAME}"
cases = [0, 1]
budget = 1.0
[arms.good]
[arms.grown]
start = "good"
settings.model.mednext.kernel = 5
[arms.bad]
settings.training.cases = 1000
"""


def test_runs_go_to_the_workers_and_a_bad_one_is_named(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, TINY.replace("[0, 1]", "[0]") + ARMS)
    with started_scheduler() as (address, _):
        one = worker(address)
        try:
            command = arguments(recipe, boxes, tmp_path / "out", "--scheduler", address)
            assert main(command) == 2
        finally:
            one.kill()
            one.wait()
    assert "1 of 7 runs failed (bad, seed 0, fold 0: " in capsys.readouterr().err
    rows = {row["arm"]: row["status"] for row in read_rows(tmp_path / "out" / "experiment.csv")}
    assert rows == {"good": "ok", "grown": "ok", "bad": "failed"}
    rows = read_rows(tmp_path / "out" / "transfer.csv")
    assert {(row["arm"], row["training_cases"], row["status"]) for row in rows} == {
        (arm, cases, "ok") for arm in ("good", "grown") for cases in ("0", "1")
    }
