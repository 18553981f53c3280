"""One process is rank 0 of 1; several are refused, however they say so."""

from pathlib import Path

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.training.distributed import find_processes
from tests.training.synthetic import arguments


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"WORLD_SIZE": "", "RANK": "-1"},
        {"WORLD_SIZE": "many", "RANK": "²"},
        {"WORLD_SIZE": "9" * 10},
    ],
)
def test_a_process_that_is_alone_is_the_first_and_sums_nothing(environment: dict[str, str]) -> None:
    processes = find_processes(environment)
    assert (processes.rank, processes.world_size) == (0, 1)
    values = torch.randn(2, 3, requires_grad=True)
    assert processes.all_reduce(values) is values
    processes.barrier()


@pytest.mark.parametrize(
    ("environment", "count"),
    [({"WORLD_SIZE": "2", "RANK": "0"}, 2), ({"RANK": "3"}, 4), ({"WORLD_SIZE": "8"}, 8)],
)
def test_several_are_refused(environment: dict[str, str], count: int) -> None:
    with pytest.raises(SettingsError, match=f"one of {count} processes") as found:
        find_processes(environment)
    assert "without torchrun" in str(found.value)


def test_the_command_refuses_torchrun_in_one_line_and_leaves_no_file(
    boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(arguments(boxes, tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this is one of 2 processes")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
