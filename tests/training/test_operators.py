"""The operators of a run: chosen when it begins, noted in its folder, and kept when it goes on."""

import json
from pathlib import Path

import pytest

from mednext_cli.networks.mednext.family import MedNeXtFamily
from mednext_cli.networks.mednext.kernels.measuring.shapes import find_blocks
from mednext_cli.networks.workload import Workload
from tests.preprocessing.synthetic import NAME


class Choosing:
    """In the place of a measurement: PyTorch's own operators for every block."""

    def __init__(self) -> None:
        self.asked: list[tuple[Workload, object]] = []

    def __call__(self, family, workload, kept=None):
        self.asked.append((workload, kept))
        blocks = {
            name: {"way": "pytorch", "width": one.shape.voxels[-1]}
            for name, one in find_blocks(workload).items()
        }
        mode = {"layout": "contiguous", "benchmark": False, "threads": None}
        return kept or {"device": "here", **mode, "blocks": blocks}


@pytest.fixture
def choosing(monkeypatch):
    chosen = Choosing()
    monkeypatch.setattr(
        MedNeXtFamily, "choose_operators", lambda *given, **named: chosen(*given, **named)
    )
    return chosen


def _note(folder: Path) -> Path:
    [note] = (folder / "runs" / NAME).rglob("operators.json")
    return note


@pytest.mark.slow
def test_what_was_chosen_is_noted_and_kept(train, tmp_path, choosing):
    assert train(settings=("training.epochs=1",)) == 0
    [(workload, kept)] = choosing.asked
    assert (workload.patch_voxels, workload.training, kept) == ((16, 32, 16), True, None)
    noted = json.loads(_note(tmp_path).read_text())
    assert noted["layout"] == "contiguous"
    assert train("--extend", settings=("training.epochs=2",)) == 0
    assert choosing.asked[-1][1] == noted
    assert json.loads(_note(tmp_path).read_text()) == noted


@pytest.mark.slow
def test_a_run_begun_without_goes_on_without(train, tmp_path, choosing):
    assert train("--operators", "stock", settings=("training.epochs=1",)) == 0
    assert not list(tmp_path.rglob("operators.json"))
    assert train("--extend", settings=("training.epochs=2",)) == 0
    assert choosing.asked == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["{", "[]", '{"device": "here"}'])
def test_a_damaged_note_is_one_line(train, tmp_path, choosing, capsys, damage):
    assert train(settings=("training.epochs=1",)) == 0
    _note(tmp_path).write_text(damage)
    capsys.readouterr()
    assert train("--extend", settings=("training.epochs=2",)) == 2
    assert capsys.readouterr().err.count("\n") == 1
