"""What goes wrong with one case stops no other, and nothing of the user is overwritten."""

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.foundation.files import storage_error
from mednext_cli.networks.checkpoint import load_checkpoint, save_checkpoint
from tests.inference.synthetic import PLAN, predict, save_model


def test_an_interrupted_prediction_keeps_what_is_done(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mednext_cli.inference import average

    out = tmp_path / "out"
    real, calls = average.predict_blocks, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(average, "predict_blocks", interrupted)
        assert predict(scans, out, model) == 130
    done = sorted(path.name for path in out.glob("*.nii.gz"))
    assert done
    for name in done:
        assert np.asarray(nib.load(out / name).dataobj).shape == (20, 26, 15)
    assert not list(out.glob(".*"))
    assert predict(scans, out, model) == 0
    assert len(list(out.glob("*.nii.gz"))) == 3


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_bad_scan_stops_no_other(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    whole = (scans / "oblique.nii.gz").read_bytes()
    (scans / "oblique.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert predict(scans, tmp_path / "out", model, options=("--workers", workers)) == 2
    error = capsys.readouterr().err
    assert "oblique.nii.gz is damaged" in error
    assert "1 of 3 cases failed: oblique" in error
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk_ends_the_run(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
) -> None:
    from mednext_cli.inference import label_maps

    def full(path: Path, *_: object) -> None:
        raise storage_error(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(label_maps, "write_label_map", full)
    assert predict(scans, tmp_path / "out", model, options=("--workers", workers)) == 2
    error = capsys.readouterr().err
    assert "no space left on device. Free some space" in error
    assert "cases failed" not in error
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_too_little_memory_for_a_case_stops_no_other(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mednext_cli.inference import average

    real, calls = average.predict_blocks, []

    def greedy(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(average, "predict_blocks", greedy)
    assert predict(scans, tmp_path / "out", model) == 2
    assert "oblique: not enough memory" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_broken_weights_are_named(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_checkpoint(model)
    weights = {name: torch.full_like(value, 3e38) for name, value in whole.state_dict.items()}
    save_checkpoint(tmp_path / "nan.pt", replace(whole, state_dict=weights))
    assert predict(scans, tmp_path / "out", tmp_path / "nan.pt") == 2
    assert "the network gives NaN for oblique" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_channels_must_fit_the_network(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        shutil.copy(scans / "oblique.nii.gz", scans / f"pair_{number:04d}.nii.gz")
    assert predict(scans, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert "has 2 channels, the network was trained on 1 (MRI)" in error
    assert "1 of 4 cases failed: pair" in error
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3


def test_other_tasks_are_not_averaged(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_model(
        tmp_path / "o.pt", 1, PLAN.model_copy(update={"spacing_mm": (1.0, 1.0, 1.0)})
    )
    assert predict(scans, tmp_path / "out", model, other) == 2
    assert "spacing_mm differ" in capsys.readouterr().err


def test_wrong_inputs_end_in_one_line(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert predict(empty, out, model) == 2
    assert f"{empty} holds no scans (.nii.gz" in capsys.readouterr().err
    assert predict(scans, out, tmp_path / "none.pt") == 2
    assert "none.pt does not exist" in capsys.readouterr().err
    assert predict(scans, out, empty) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    shutil.copy(scans / "oblique.nii.gz", scans / "oblique.nii")
    assert predict(scans, out, model) == 2
    assert "are the same case" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_scans_are_never_replaced(
    scans: Path,
    model: Path,
    options: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path.name: path.read_bytes() for path in scans.iterdir()}
    assert predict(scans, scans, model, options=options) == 2
    assert "would replace it" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in scans.iterdir()} == before


def test_label_maps_of_others_are_not_replaced(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "annotations"
    out.mkdir()
    (out / "oblique.nii.gz").write_bytes(b"years of work")
    assert predict(scans, out, model) == 2
    assert "not made by mednext predict" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["oblique.nii.gz"]
    assert (out / "oblique.nii.gz").read_bytes() == b"years of work"
    assert predict(scans, out, model, options=("--force",)) == 0
