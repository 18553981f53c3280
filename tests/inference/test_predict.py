"""Predicting through the command: own grids, averages, what is done stays, one line for errors."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.files import storage_error
from mednext_cli.foundation.plugins import load_plugin
from mednext_cli.inference.engine import build_engine, choose_engine
from mednext_cli.inference.memory import estimate_bytes
from mednext_cli.inference.models import load_model
from mednext_cli.networks.checkpoint import (
    Checkpoint,
    build_plain,
    load_checkpoint,
    save_checkpoint,
)
from mednext_cli.networks.variants import architecture
from mednext_cli.preprocessing.plan import ChannelNormalisation, Plan

PLAN = Plan(
    dataset="test",
    layout="kits19",
    spacing_mm=(2.0, 2.0, 2.0),
    patch_voxels=(16, 32, 16),
    batch_size=2,
    channels=("MRI",),
    normalisation=(ChannelNormalisation(scheme="z_score"),),
    labels={"kidney": 1, "tumour": 4},
    regions={"kidney": (1, 4), "tumour": (4,)},
)
RECIPE = {"augmentation": {"mirror_axes": ["left_right"]}, "inference": {"mirror": False}}


def _save(path: Path, seed: int, plan: Plan = PLAN, channels: int = 1) -> Path:
    torch.manual_seed(seed)
    made = architecture("S", 3, channels, plan.output_channels, base_channels=4)
    weights = build_plain(made).state_dict()
    save_checkpoint(
        path, Checkpoint(made, weights, plan=plan.model_dump(mode="json"), recipe=RECIPE)
    )
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save(tmp_path_factory.mktemp("model") / "one.pt", 0)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three scans on awkward grids: oblique, flipped with swapped axes, anisotropic."""
    folder = tmp_path / "scans"
    folder.mkdir()
    random = np.random.default_rng(0)
    angle = np.deg2rad(20)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affines = {
        "oblique": turn @ np.diag([1.5, 1.5, 3.0]),
        "swapped": np.array([[0, 0, -2.0], [0, -1.5, 0], [-2.5, 0, 0]]),
        "anisotropic": np.diag([1.0, 1.0, 8.0]),
    }
    for name, linear in affines.items():
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = linear, (10, -20, 30)
        voxels = random.normal(100, 20, size=(20, 26, 15)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{name}.nii.gz")
    return folder


def _predict(images: Path, out: Path, *models: Path, options: tuple[str, ...] = ()) -> int:
    named = [part for path in models for part in ("--model", str(path))]
    always = ["--device", "cpu", "--engine", "torch"]
    return main(["predict", str(images), *named, "--out", str(out), *always, *options])


def test_label_maps_lie_on_the_scans_own_grids(scans: Path, model: Path, tmp_path: Path) -> None:
    assert _predict(scans, tmp_path / "out", model) == 0
    for scan in sorted(scans.iterdir()):
        source, made = nib.load(scan), nib.load(tmp_path / "out" / scan.name)
        assert made.shape == source.shape
        np.testing.assert_allclose(made.affine, source.affine, atol=1e-5)
        for form in ("sform_code", "qform_code"):
            assert made.header[form] == source.header[form]
        assert made.get_data_dtype() == np.uint8
        assert set(np.unique(made.dataobj)) <= {0, 1, 4}
    record = json.loads((tmp_path / "out" / "predict.json").read_text())
    assert set(record["cases"]) == {"anisotropic", "oblique", "swapped"}
    assert record["provenance"]["models"] == [str(model)]
    assert len(record["settings"]["models"][0]) == 64


def test_done_cases_are_kept_and_changed_scans_are_not(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, model) == 0
    (out / "oblique.nii.gz").unlink()
    before = (out / "swapped.nii.gz").stat().st_mtime_ns
    capsys.readouterr()
    assert _predict(scans, out, model) == 0
    assert "1 made, 2 kept" in capsys.readouterr().out
    assert (out / "swapped.nii.gz").stat().st_mtime_ns == before
    scan = nib.load(scans / "swapped.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj)[::-1], scan.affine), scans / "swapped.nii.gz")
    assert _predict(scans, out, model) == 0
    assert "1 made, 2 kept" in capsys.readouterr().out


def test_predictions_of_different_models_are_never_mixed(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", _save(tmp_path / "other.pt", 1)
    assert _predict(scans, out, model) == 0
    assert _predict(scans, out, other) == 2
    assert "made with other models" in capsys.readouterr().err
    assert _predict(scans, out, other, options=("--force",)) == 0


def test_several_models_are_averaged(scans: Path, model: Path, tmp_path: Path) -> None:
    other = _save(tmp_path / "other.pt", 1)
    options = ("--probabilities",)
    for name, models in {"a": [model], "b": [other], "ab": [model, other]}.items():
        assert _predict(scans, tmp_path / name, *models, options=options) == 0
    found = {
        name: np.load(tmp_path / name / "oblique_probabilities.npz")["probabilities"]
        for name in ("a", "b", "ab")
    }
    assert found["ab"].dtype == np.float16
    assert found["ab"].shape == (3, 20, 26, 15)
    mean = (found["a"].astype(float) + found["b"]) / 2
    np.testing.assert_allclose(found["ab"], mean, atol=2e-3)
    np.testing.assert_allclose(found["ab"].astype(float).sum(0), 1, atol=5e-3)


def test_an_interrupted_prediction_keeps_what_is_done(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mednext_cli.inference import pipeline

    out = tmp_path / "out"
    real, calls = pipeline.predict_probabilities, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "predict_probabilities", interrupted)
        assert _predict(scans, out, model) == 130
    done = sorted(path.name for path in out.glob("*.nii.gz"))
    assert done
    for name in done:
        assert np.asarray(nib.load(out / name).dataobj).shape == (20, 26, 15)
    assert not list(out.glob(".*"))
    assert _predict(scans, out, model) == 0
    assert len(list(out.glob("*.nii.gz"))) == 3


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_bad_scan_stops_no_other(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    whole = (scans / "oblique.nii.gz").read_bytes()
    (scans / "oblique.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert _predict(scans, tmp_path / "out", model, options=("--workers", workers)) == 2
    error = capsys.readouterr().err
    assert "oblique.nii.gz is damaged" in error
    assert "1 of 3 cases failed: oblique" in error
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_regions_are_written_in_their_order(scans: Path, tmp_path: Path) -> None:
    plan = PLAN.model_copy(update={"region_training": True, "region_values": (1, 4)})
    path = _save(tmp_path / "regions.pt", 3, plan)
    assert _predict(scans, tmp_path / "out", path, options=("--probabilities",)) == 0
    probabilities = np.load(tmp_path / "out" / "oblique_probabilities.npz")["probabilities"]
    labels = np.asarray(nib.load(tmp_path / "out" / "oblique.nii.gz").dataobj)
    clear = (np.abs(probabilities.astype(float) - 0.5) > 0.01).all(0)
    expected = np.where(probabilities[1] > 0.5, 4, np.where(probabilities[0] > 0.5, 1, 0))
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_other_tasks_are_not_averaged(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _save(tmp_path / "o.pt", 1, PLAN.model_copy(update={"spacing_mm": (1.0, 1.0, 1.0)}))
    assert _predict(scans, tmp_path / "out", model, other) == 2
    assert "spacing_mm differ" in capsys.readouterr().err


def test_wrong_inputs_end_in_one_line(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert _predict(empty, out, model) == 2
    assert f"{empty} holds no .nii.gz" in capsys.readouterr().err
    assert _predict(scans, out, tmp_path / "none.pt") == 2
    assert "none.pt does not exist" in capsys.readouterr().err
    assert _predict(scans, out, empty) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    shutil.copy(scans / "oblique.nii.gz", scans / "oblique.nii")
    assert _predict(scans, out, model) == 2
    assert "are the same case" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_scans_are_never_replaced(
    scans: Path,
    model: Path,
    options: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path.name: path.read_bytes() for path in scans.iterdir()}
    assert _predict(scans, scans, model, options=options) == 2
    assert "would replace it" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in scans.iterdir()} == before


def test_label_maps_of_others_are_not_replaced(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "annotations"
    out.mkdir()
    (out / "oblique.nii.gz").write_bytes(b"years of work")
    assert _predict(scans, out, model) == 2
    assert "not made by mednext predict" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["oblique.nii.gz"]
    assert (out / "oblique.nii.gz").read_bytes() == b"years of work"
    assert _predict(scans, out, model, options=("--force",)) == 0


def test_a_moved_checkpoint_is_the_same_model(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, model) == 0
    moved = shutil.copy(model, tmp_path / "moved.pt")
    capsys.readouterr()
    assert _predict(scans, out, Path(moved)) == 0
    assert "0 made, 3 kept" in capsys.readouterr().out


def test_other_settings_are_not_mixed(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _predict(scans, out, model) == 0
    assert _predict(scans, out, model, options=("--mirror", "--overlap", "0")) == 2
    assert "made with other mirror_axes and overlap" in capsys.readouterr().err


def test_mirroring_is_along_the_axes_of_the_recipe(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    for name in ("mirror", "no-mirror"):
        assert _predict(scans, tmp_path / name, model, options=(f"--{name}",)) == 0
    found = {
        name: json.loads((tmp_path / name / "predict.json").read_text())["settings"]["mirror_axes"]
        for name in ("mirror", "no-mirror")
    }
    assert found == {"mirror": [[2]], "no-mirror": [[]]}


def test_the_folds_below_a_folder_are_averaged(scans: Path, tmp_path: Path) -> None:
    for fold, names in enumerate((("best", "last"), ("best",), ("last",))):
        folder = tmp_path / "S-k3" / f"fold{fold}"
        folder.mkdir(parents=True)
        for name in names:
            _save(folder / f"checkpoint_{name}.pt", 10 * fold + len(name))
    (tmp_path / "S-k3" / "fold0" / "validation").mkdir()
    options = ("--cases", "oblique", "--overlap", "0")
    assert _predict(scans, tmp_path / "out", tmp_path / "S-k3", options=options) == 0
    used = json.loads((tmp_path / "out" / "predict.json").read_text())["provenance"]["models"]
    assert [str(Path(path).relative_to(tmp_path / "S-k3")) for path in used] == [
        "fold0/checkpoint_last.pt",
        "fold1/checkpoint_best.pt",
        "fold2/checkpoint_last.pt",
    ]
    assert [path.name for path in (tmp_path / "out").glob("*.gz")] == ["oblique.nii.gz"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk_ends_the_run(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    workers: str,
) -> None:
    from mednext_cli.inference import pipeline

    def full(path: Path, *_: object) -> None:
        raise storage_error(path, OSError(errno.ENOSPC, "No space left on device"))

    monkeypatch.setattr(pipeline, "write_label_map", full)
    assert _predict(scans, tmp_path / "out", model, options=("--workers", workers)) == 2
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
    from mednext_cli.inference import pipeline

    real, calls = pipeline.predict_probabilities, []

    def greedy(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "predict_probabilities", greedy)
    assert _predict(scans, tmp_path / "out", model) == 2
    assert "oblique: not enough memory" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_broken_weights_are_named(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = load_checkpoint(model)
    weights = {
        name: torch.full_like(value, float("nan")) for name, value in whole.state_dict.items()
    }
    save_checkpoint(tmp_path / "nan.pt", replace(whole, state_dict=weights))
    assert _predict(scans, tmp_path / "out", tmp_path / "nan.pt") == 2
    assert "the network gives NaN for oblique" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.nii.gz"))


def test_channels_must_fit_the_network(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        shutil.copy(scans / "oblique.nii.gz", scans / f"pair_{number:04d}.nii.gz")
    assert _predict(scans, tmp_path / "out", model) == 2
    error = capsys.readouterr().err
    assert "has 2 channels, the network was trained on 1 (MRI)" in error
    assert "1 of 4 cases failed: pair" in error
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3


def test_memory_is_estimated_from_the_header(scans: Path) -> None:
    path = scans / "anisotropic.nii.gz"  # 20 x 26 x 15 voxels of 1 x 1 x 8 mm
    prepared = 20 * 26 * 15 * 8 / 2**3
    one = estimate_bytes(Case("a", (Channel(path),)), PLAN, models=1)
    several = estimate_bytes(Case("a", (Channel(path),)), PLAN, models=5)
    assert one >= 4 * prepared * (1 + 3)
    assert several - one <= 4 * prepared * 3  # one more buffer of three classes, however many
    assert several > one
    assert estimate_bytes(Case("a", (Channel(path.with_name("none.nii")),)), PLAN, 1) == 0


def test_engines_agree(model: Path) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    loaded = load_model(model)
    images = np.random.default_rng(0).normal(size=(2, 1, 16, 32, 16)).astype(np.float32)
    torch_made, openvino_made = (
        build_engine(name, loaded.checkpoint, loaded.plan, "cpu")(images)
        for name in ("torch", "openvino")
    )
    np.testing.assert_allclose(torch_made, openvino_made, atol=1e-4)


def test_openvino_names_what_to_install(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    load_plugin("engines", "openvino")
    command = ["predict", str(scans), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "cpu", "--engine", "openvino"]) == 2
    assert "pip install 'mednext[openvino]'" in capsys.readouterr().err


def test_auto_is_an_engine_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from mednext_cli.inference import engine

    assert choose_engine("auto", "cuda:0") == "torch"
    assert choose_engine("mine", "cpu") == "mine"
    for installed, expected in ((None, "torch"), (object(), "openvino")):
        monkeypatch.setattr(engine, "find_spec", lambda _, found=installed: found)
        assert choose_engine("auto", "cpu") == expected


def test_devices_that_are_not_there_are_named(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["predict", str(scans), "--model", str(model), "--out", str(tmp_path / "out")]
    assert main([*command, "--device", "abacus"]) == 2
    assert "no device 'abacus' on this machine. There is cpu" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
