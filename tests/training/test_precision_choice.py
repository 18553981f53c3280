"""`training.precision = "auto"` on a CPU: measured when a run begins, and kept when it goes on."""

import json
import os
import signal

import pytest
import torch

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.mednext.family import MedNeXtFamily
from mednext_cli.networks.workload import Workload
from mednext_cli.training import cuda_graph
from mednext_cli.training.precision_choice import choose_precision
from tests.networks.made import mednext
from tests.preprocessing.synthetic import NAME


@pytest.fixture
def gain(monkeypatch):
    """Of bfloat16 on a pretended processor; a test changes it."""
    measured = [2.0]
    monkeypatch.setattr(MedNeXtFamily, "bfloat16_gain", lambda *_: measured[0])
    return measured


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [(None, "float32"), (0.2, "float32"), (1.05, "float32"), (1.3, "bfloat16")],
)
def test_it_must_be_clearly_faster(gain, measured, chosen, caplog):
    caplog.set_level("INFO")
    gain[0], spec = measured, mednext("S", 3, 1, 2, 4)
    workload = Workload(spec, (16, 32, 16), 2, torch.bfloat16, True, torch.device("cpu"))
    assert choose_precision(spec.family, workload) == chosen
    assert ("precision: " in caplog.text) == (measured is not None)


def _note(folder):
    [note] = (folder / "runs" / NAME).rglob("precision.json")
    return note


@pytest.mark.slow
def test_what_was_chosen_is_noted_and_kept(train, tmp_path, gain, capsys):
    assert train(settings=("training.epochs=1",)) == 0
    assert json.loads(_note(tmp_path).read_text()) == {"precision": "bfloat16"}
    gain[0] = None  # goes on where the processor has it not
    capsys.readouterr()
    assert train("--extend", settings=("training.epochs=2",)) == 0
    assert "bfloat16" in capsys.readouterr().err
    [last] = tmp_path.rglob("checkpoint_last.pt")
    assert {one.dtype for one in load_checkpoint(last).state_dict.values()} == {torch.float32}
    more = ("training.epochs=3", "training.precision=float32")
    assert train("--extend", settings=more) == 2
    assert "bfloat16 -> float32" in capsys.readouterr().err
    more = ("training.epochs=3", "training.precision=bfloat16")
    assert train("--extend", settings=more) == 0


@pytest.mark.slow
def test_a_note_of_a_run_that_saved_nothing_is_replaced(train, tmp_path, gain):
    assert train(settings=("training.epochs=1",)) == 0
    _note(tmp_path).write_text('{"precision": "float32"}')
    [last] = tmp_path.rglob("checkpoint_last.pt")
    last.unlink()
    assert train(settings=("training.epochs=1",)) == 0
    assert json.loads(_note(tmp_path).read_text()) == {"precision": "bfloat16"}


@pytest.mark.slow
def test_going_on_gives_the_bits_of_a_run_in_one_go(train, tmp_path, gain, monkeypatch):
    def weights(runs):
        [last] = (tmp_path / runs).rglob("checkpoint_last.pt")
        return load_checkpoint(last).state_dict

    assert train(runs=tmp_path / "whole") == 0
    update, steps = cuda_graph.update, []

    def stop_in_the_second_step(*given):
        steps.append(1)
        if len(steps) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return update(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cuda_graph, "update", stop_in_the_second_step)
        assert train(runs=tmp_path / "parts") == 130
    gain[0] = None
    assert train(runs=tmp_path / "parts") == 0
    parts = weights("parts")
    for name, one in weights("whole").items():
        assert torch.equal(one, parts[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["{", "[]", '{"precision": "float16"}'])
def test_a_damaged_note_is_one_line(train, tmp_path, gain, capsys, damage):
    assert train(settings=("training.epochs=1",)) == 0
    _note(tmp_path).write_text(damage)
    capsys.readouterr()
    assert train("--extend", settings=("training.epochs=2",)) == 2
    said = capsys.readouterr().err
    assert "precision.json" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_run_from_before_goes_on_in_float32(train, tmp_path, gain, capsys):
    gain[0] = None
    assert train(settings=("training.epochs=1",)) == 0
    _note(tmp_path).unlink()
    gain[0] = 2.0
    capsys.readouterr()
    assert train("--extend", settings=("training.epochs=2",)) == 0
    assert "bfloat16" not in capsys.readouterr().err
    assert json.loads(_note(tmp_path).read_text()) == {"precision": "float32"}


def test_networks_whose_gradients_would_be_wrong_are_refused(cache, tmp_path, capsys):
    """See `networks.short_axes`: PyTorch's own dense convolutions of small images."""
    words = ["train", NAME, "--cache", str(cache), "--runs", str(tmp_path), "--device", "cpu"]
    words += ["--network", "uxnet", "--set", "training.patch_voxels=[32,32,32]"]
    assert main([*words, "--set", "training.precision=bfloat16"]) == 2
    error = capsys.readouterr().err
    assert "uxnet cannot be trained in bfloat16 on a CPU" in error
    assert error.count("\n") == 1
    assert not [*tmp_path.iterdir()]
