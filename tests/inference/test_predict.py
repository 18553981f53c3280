"""Predicting through the command: own grids, averages, and what is done stays."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.evaluation.scoring.references import recorded_labels
from mednext_cli.inference import workload
from mednext_cli.inference.average import Member, NetworkAverage, build_average
from mednext_cli.inference.engine import EngineOptions
from mednext_cli.inference.memory import LABELS_ONLY, Beside, bytes_on, peek
from mednext_cli.inference.models import load_models
from mednext_cli.inference.torch_engine import NetworkEngine
from mednext_cli.volumes.turning import Turn
from tests.inference.synthetic import PLAN, predict, probabilities, save_model
from tests.inference.test_average import PATCH, Shift


def test_label_maps_lie_on_the_scans_own_grids(scans: Path, model: Path, tmp_path: Path) -> None:
    assert predict(scans, tmp_path / "out", model) == 0
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
    naming = recorded_labels(tmp_path / "out")  # what mednext evaluate makes of it
    assert naming is not None
    assert set(naming.label_set.names.values()) == {1, 4}


def test_done_cases_are_kept_and_changed_scans_are_not(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model) == 0
    (out / "oblique.nii.gz").unlink()
    before = (out / "swapped.nii.gz").stat().st_mtime_ns
    capsys.readouterr()
    assert predict(scans, out, model) == 0
    assert "1 made, 2 kept" in capsys.readouterr().out
    assert (out / "swapped.nii.gz").stat().st_mtime_ns == before
    scan = nib.load(scans / "swapped.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj)[::-1], scan.affine), scans / "swapped.nii.gz")
    assert predict(scans, out, model) == 0
    assert "1 made, 2 kept" in capsys.readouterr().out


def test_predictions_of_different_models_are_never_mixed(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    assert predict(scans, out, model) == 0
    assert predict(scans, out, other) == 2
    assert "made with other models" in capsys.readouterr().err
    assert predict(scans, out, other, options=("--force",)) == 0


def test_several_models_are_averaged(scans: Path, model: Path, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other.pt", 1)
    options = ("--probabilities",)
    for name, models in {"a": [model], "b": [other], "ab": [model, other]}.items():
        assert predict(scans, tmp_path / name, *models, options=options) == 0
    found = {name: probabilities(tmp_path / name, "oblique") for name in ("a", "b", "ab")}
    assert found["ab"].dtype == np.float16
    assert found["ab"].shape == (3, 20, 26, 15)
    mean = (found["a"].astype(float) + found["b"]) / 2
    np.testing.assert_allclose(found["ab"], mean, atol=2e-3)
    np.testing.assert_allclose(found["ab"].astype(float).sum(0), 1, atol=5e-3)


def test_regions_are_written_in_their_order(scans: Path, tmp_path: Path) -> None:
    labels = replace(PLAN.label_set, region_training=True, region_values=(1, 4))
    plan = PLAN.model_copy(update={"label_set": labels})
    path = save_model(tmp_path / "regions.pt", 3, plan)
    assert predict(scans, tmp_path / "out", path, options=("--probabilities",)) == 0
    scores = probabilities(tmp_path / "out", "oblique")
    labels = np.asarray(nib.load(tmp_path / "out" / "oblique.nii.gz").dataobj)
    clear = (np.abs(scores.astype(float) - 0.5) > 0.01).all(0)
    expected = np.where(scores[1] > 0.5, 4, np.where(scores[0] > 0.5, 1, 0))
    np.testing.assert_array_equal(labels[clear], expected[clear])


def test_a_moved_checkpoint_is_the_same_model(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model) == 0
    moved = shutil.copy(model, tmp_path / "moved.pt")
    capsys.readouterr()
    assert predict(scans, out, Path(moved)) == 0
    assert "0 made, 3 kept" in capsys.readouterr().out


def test_other_settings_are_not_mixed(
    scans: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model) == 0
    assert predict(scans, out, model, options=("--mirror", "--overlap", "0")) == 2
    assert "made with other mirror_axes and overlap" in capsys.readouterr().err
    assert predict(scans, out, model, options=("--precision", "bfloat16")) == 2
    assert "made with other precision" in capsys.readouterr().err


def test_mirroring_is_along_the_axes_of_the_recipe(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    for name in ("mirror", "no-mirror"):
        assert predict(scans, tmp_path / name, model, options=(f"--{name}",)) == 0
    found = {
        name: json.loads((tmp_path / name / "predict.json").read_text())["settings"]["mirror_axes"]
        for name in ("mirror", "no-mirror")
    }
    assert found == {"mirror": [[2]], "no-mirror": [[]]}


def test_the_time_left_counts_tiles(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of two scans is 1 tile, the second 3 x 2 x 3; each tile takes a second."""
    from mednext_cli.foundation import progress
    from mednext_cli.inference.torch_engine import NetworkEngine

    images = tmp_path / "scans"
    images.mkdir()
    for name, shape in (("large", (32, 48, 32)), ("late", (16, 32, 16))):
        voxels = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), images / f"{name}.nii.gz")
    clock = [0.0]
    real = NetworkEngine.__call__

    def a_second(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        clock[0] += 1
        return real(engine, tiles)

    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(NetworkEngine, "__call__", a_second)
    assert predict(images, tmp_path / "out", model, options=("--workers", "0")) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "predicting" in line]
    count = 3 * 2 * 3
    assert [line.split(" (")[0] for line in lines[: count + 1]] == [
        f"predicting: {n}/{count + 1} tiles, {n} s elapsed, {count + 1 - n} s left"
        for n in range(1, count + 2)
    ]
    assert lines[0].endswith("(large: 1 of 18 tiles, 0 of 2 cases done)")


def test_scans_with_wide_margins_shorten_the_estimate(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 32 x 48 x 32 voxels only 10 x 10 x 10 are not zero: one tile."""
    voxels = np.zeros((32, 48, 32), dtype=np.float32)
    voxels[4:14, 4:14, 4:14] = np.random.default_rng(0).normal(100, 20, size=(10, 10, 10))
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "a.nii.gz")
    assert predict(tmp_path / "a.nii.gz", tmp_path / "out", model) == 0
    assert "predicting: 1/1 tiles" in capsys.readouterr().err


def test_memory_is_estimated_from_the_header(scans: Path) -> None:
    path = scans / "anisotropic.nii.gz"  # 20 x 26 x 15 voxels of 1 x 1 x 8 mm
    scan, prepared = 20 * 26 * 15, 20 * 26 * 15 * 8 // 2**3
    grid = peek(Case("a", (Channel(path),)))
    assert grid is not None
    engine = Shift(1.0)
    one, five, turned = (
        NetworkAverage((Member(engine, PATCH, (), 0.5), *others), PLAN)
        for others in (
            (),
            (Member(engine, PATCH, (), 0.5),) * 4,
            (Member(engine, (1, 16, 16), (), 0.5, Turn(2)),),
        )
    )
    least = bytes_on(grid, one, LABELS_ONLY)
    assert least.reading >= 4 * (scan + prepared)
    # 60 x 13 x 10 voxels, each in two tiles of 16 x 32 x 16 at most: 36 rows of a column are open.
    assert least.predicting >= 4 * prepared + 4 * 3 * 130 * 16
    assert bytes_on(grid, five, LABELS_ONLY) == least  # the same tiles: added to the same sums
    assert bytes_on(grid, five, Beside(doubts=2)).predicting > least.predicting
    assert bytes_on(grid, turned, LABELS_ONLY).predicting > least.predicting
    kept = bytes_on(grid, one, Beside(probabilities=True))
    # A row of blocks waits: all of the scan, which is thinner than a tile.
    assert 0 < kept.predicting - least.predicting <= 2 * 3 * scan
    beside = least.in_flight(2) - least.alone
    assert beside >= 2 * (least.reading + least.writing) - least.reading
    assert least.in_flight(0) == least.alone
    assert peek(Case("a", (Channel(path.with_name("none.nii")),))) is None


def test_what_cannot_fit_is_refused_before_anything_is_computed(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workload, "free_memory_bytes", lambda: 2**16)
    monkeypatch.setattr(NetworkEngine, "__call__", None)
    out = tmp_path / "out"
    assert predict(scans, out, model, options=("--workers", "0")) == 2
    error = capsys.readouterr().err
    assert "GiB of memory, 6.1e-05 GiB are free. Free some" in error
    assert "cases failed" not in error
    assert not list(out.glob("*.nii.gz"))


def test_workers_are_as_many_as_memory_allows(
    scans: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks = build_average(load_models([model]), "torch", EngineOptions(torch.device("cpu")))
    grids = (peek(Case("a", (Channel(path),))) for path in scans.iterdir())
    needs = [bytes_on(grid, networks, LABELS_ONLY) for grid in grids if grid]
    most = max(needs, key=lambda one: one.alone)
    monkeypatch.setattr(workload, "free_memory_bytes", lambda: most.in_flight(1) + 1)
    assert predict(scans, tmp_path / "out", model, options=("--workers", "3")) == 0
    assert "3 workers would need about" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 3
