"""mednext predict: what lies beside label maps, and what makes a case done."""

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.evaluation.scoring.label_maps import find_label_maps
from mednext_cli.inference.findings.structures import mask_names
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.inference.synthetic import predict, probabilities, save_model

NAMES = ("anisotropic", "oblique", "swapped")
DERIVED = ("--statistics", "--preview", "--split")


def labels_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def scan(scans: Path) -> Path:
    """A folder with one of them."""
    for name in ("anisotropic", "swapped"):
        (scans / f"{name}.nii.gz").unlink()
    return scans


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bright voxels are kidney, dark ones tumour, at no cost; a number for every call."""
    made: list[int] = []

    def by_brightness(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        made.append(len(tiles))
        return torch.cat([0 * tiles, tiles, -tiles - 0.5], dim=1)

    monkeypatch.setattr(NetworkEngine, "__call__", by_brightness)
    return made


@pytest.mark.slow
def test_statistics_preview_and_masks_are_of_the_label_map(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert predict(scans, out, model, options=DERIVED) == 0
    rows = {(row["case"], row["structure"]): row for row in rows_of(out / "volumes.csv")}
    assert set(rows) == {(case, name) for case in NAMES for name in ("kidney", "tumour")}
    for case in NAMES:
        labels, scan = labels_of(out / f"{case}.nii.gz"), nib.load(scans / f"{case}.nii.gz")
        for name, value in (("kidney", 1), ("tumour", 4)):
            row, mask = rows[case, name], labels == value
            voxel_ml = abs(np.linalg.det(scan.affine[:3, :3])) / 1000
            assert int(row["voxels"]) == mask.sum() > 0
            assert float(row["volume_ml"]) == pytest.approx(mask.sum() * voxel_ml, rel=1e-6)
            mean = np.asarray(scan.dataobj)[mask].mean()
            assert float(row["intensity_mean_MRI"]) == pytest.approx(mean, rel=1e-6)
            alone = nib.load(out / "structures" / case / f"{name}.nii.gz")
            np.testing.assert_array_equal(np.asarray(alone.dataobj), mask)
            np.testing.assert_allclose(alone.affine, scan.affine, atol=1e-5)
        assert (out / "previews" / f"{case}.png").read_bytes().startswith(b"\x89PNG")
    assert set(find_label_maps(out)) == set(NAMES)  # masks are not taken for cases


def test_what_is_made_of_label_maps_needs_no_networks(
    scan: Path, model: Path, tmp_path: Path, calls: list[int]
) -> None:
    out = tmp_path / "out"
    assert predict(scan, out, model) == 0
    before, asked = (out / "oblique.nii.gz").stat().st_mtime_ns, len(calls)
    assert predict(scan, out, model, options=DERIVED) == 0
    assert (out / "oblique.nii.gz").stat().st_mtime_ns == before
    assert len(rows_of(out / "volumes.csv")) == 2
    lost = out / "structures" / "oblique" / "tumour.nii.gz"
    lost.unlink()
    assert predict(scan, out, model, options=DERIVED) == 0
    assert lost.is_file()
    assert len(calls) == asked


@pytest.mark.slow
def test_a_case_is_done_when_all_that_is_wanted_is_there(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for options, made in (
        ((), 1),
        (("--uncertainty",), 1),
        (("--uncertainty",), 0),
        (("--preview",), 1),
        (("--preview", "--uncertainty"), 0),
    ):
        assert predict(scan, out, model, options=options) == 0
        assert f"{made} made, {1 - made} kept" in capsys.readouterr().out, options
    (out / "previews" / "oblique.png").unlink()
    assert predict(scan, out, model, options=("--preview",)) == 0
    assert "1 made, 0 kept" in capsys.readouterr().out


def test_what_was_told_of_an_older_label_map_goes(scan: Path, model: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    everything = (*DERIVED, "--uncertainty", "--probabilities")
    assert predict(scan, out, model, options=everything) == 0
    assert (out / "uncertainty" / "oblique" / "entropy.nii.gz").is_file()
    assert predict(scan, out, other, options=("--force",)) == 0
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left == {"oblique.nii.gz", "predict.json"}


def test_only_some_structures_are_kept_and_never_mixed_with_all(
    scan: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    options = ("--only", "tumour", "--statistics", "--split")
    assert predict(scan, whole, model) == 0
    assert predict(scan, out, model, options=options) == 0
    everything = labels_of(whole / "oblique.nii.gz")
    expected = np.where(everything == 4, 4, 0)
    np.testing.assert_array_equal(labels_of(out / "oblique.nii.gz"), expected)
    assert {row["structure"] for row in rows_of(out / "volumes.csv")} == {"tumour"}
    assert [path.name for path in (out / "structures" / "oblique").iterdir()] == ["tumour.nii.gz"]
    assert predict(scan, out, model) == 2
    assert "made with other only" in capsys.readouterr().err
    assert predict(scan, whole, model, options=("--only", "tumor")) == 2
    assert "Did you mean tumour?" in capsys.readouterr().err


def test_uncertainty_lies_on_the_scans_grid(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharpness: dict[NetworkEngine, float] = {}

    def own_opinion(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        sharp = sharpness.setdefault(engine, 1.0 + 4.0 * len(sharpness))
        return sharp * torch.cat([0 * tiles, tiles, -tiles - 0.5], dim=1)

    monkeypatch.setattr(NetworkEngine, "__call__", own_opinion)
    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    options = ("--uncertainty", "--probabilities")
    assert predict(scans, out, model, other, options=options) == 0
    for name in NAMES:
        scan, found = nib.load(scans / f"{name}.nii.gz"), []
        for kind in ("entropy", "disagreement"):
            made = nib.load(out / "uncertainty" / name / f"{kind}.nii.gz")
            assert made.get_data_dtype() == np.float32
            np.testing.assert_allclose(made.affine, scan.affine, atol=1e-5)
            found.append(np.asarray(made.dataobj))
        assert (found[1] <= found[0] + 1e-3).all()
        assert 0 < found[1].max() < found[0].max() <= 1
        # Entropy bends, and is taken before the probabilities are resampled: no less than before.
        p = probabilities(out, name).astype(float)
        after = -np.where(p > 0, p * np.log(np.maximum(p, 1e-12)), 0).sum(axis=0) / np.log(3)
        assert (found[0] <= after + 5e-3).all()
        assert np.corrcoef(found[0].ravel(), after.ravel())[0, 1] > 0.5


def test_no_two_masks_are_called_the_same() -> None:
    assert mask_names({"left lung": 1, "liver": 2}) == {1: "left_lung", 2: "liver"}
    clashing = {"lung": 1, "Lung": 2, "lung 1": 3}
    assert len(set(mask_names(clashing).values())) == len(clashing)
