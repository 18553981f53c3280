"""Averages of saved probabilities, against those of the networks and on made-up files."""

import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from torch import Tensor

from mednext_cli.app import main
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.inference.synthetic import predict, probabilities, save_model

AFFINE = np.array([[0, -0.8, 0, 5], [1.1, 0, 0, -9], [0, 0.2, 3.0, 7], [0, 0, 0, 1.0]])
CLASSES = {"labels": {"liver": 1, "tumour": 300}, "regions": {"liver": [1, 300]}}


def average(*folders: Path, out: Path, options: tuple[str, ...] = ()) -> int:
    return main(["ensemble", *map(str, folders), "--out", str(out), *options])


def save(
    folder: Path, scores: np.ndarray, case: str = "a", affine: np.ndarray = AFFINE, **more: object
) -> Path:
    folder.mkdir(exist_ok=True)
    write_hdf5(folder, scores, case, affine, more)
    empty = np.zeros(scores.shape[1:], np.uint8)
    nib.save(nib.Nifti1Image(empty, affine), folder / f"{case}.nii.gz")
    named = {**CLASSES, "ignore": None, "region_training": False, "region_values": [], **more}
    record = {"version": 2, "settings": {}, "provenance": {"label_set": named}, "cases": {}}
    (folder / "predict.json").write_text(json.dumps(record))
    return folder


def write_hdf5(
    folder: Path, scores: np.ndarray, case: str, affine: np.ndarray, more: dict[str, object]
) -> None:
    with h5py.File(folder / f"{case}_probabilities.h5", "w") as file:
        made = file.create_dataset("probabilities", data=scores.astype(np.float16))
        naming = {**CLASSES, **more}
        regions = bool(naming.get("region_training"))
        names = list(naming["regions"]) if regions else ["background", *naming["labels"]]
        file.attrs["names"] = names[: len(made)]
        file.attrs["kind"] = "regions" if regions else "classes"
        file.attrs["affine"] = affine


def write_npz(folder: Path, scores: np.ndarray, case: str = "a") -> None:
    """In place of HDF5, as mednext did until it wrote that."""
    (folder / f"{case}_probabilities.h5").unlink()
    path = folder / f"{case}_probabilities.npz"
    np.savez_compressed(path, probabilities=scores.astype(np.float16), affine=AFFINE)


def made(out: Path, case: str = "a") -> np.ndarray:
    return np.asarray(nib.load(out / f"{case}.nii.gz").dataobj)


@pytest.fixture
def scores() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return list(random.dirichlet((1, 1, 1), size=(2, 7, 6, 5)).transpose(0, 4, 1, 2, 3))


def test_it_is_the_weighted_average_on_the_same_grid(
    tmp_path: Path, scores: list[np.ndarray]
) -> None:
    folders = [save(tmp_path / name, one) for name, one in zip("xy", scores, strict=True)]
    for options, share in (((), 0.5), (("--weights", "3,1"), 0.75)):
        out = tmp_path / f"out{share}"
        assert average(*folders, out=out, options=options) == 0
        first, second = (one.astype(np.float16).astype(np.float32) for one in scores)
        mean = np.float32(share) * first + np.float32(1 - share) * second
        expected = np.array([0, 1, 300])[mean.argmax(axis=0)]
        np.testing.assert_array_equal(made(out), expected)
        np.testing.assert_allclose(nib.load(out / "a.nii.gz").affine, AFFINE, atol=1e-6)


def test_folders_of_earlier_versions_are_read(tmp_path: Path, scores: list[np.ndarray]) -> None:
    """Of one version with another's, and each case of the two has one file."""
    folders = [save(tmp_path / name, one) for name, one in zip("xy", scores, strict=True)]
    assert average(*folders, out=tmp_path / "now") == 0
    write_npz(folders[1], scores[1])
    assert average(*folders, out=tmp_path / "then") == 0
    np.testing.assert_array_equal(made(tmp_path / "then"), made(tmp_path / "now"))


def test_regions_are_written_in_their_order(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    regions = {"regions": {"whole": [1, 300], "core": [300]}}
    naming = {**regions, "region_training": True, "region_values": [1, 300]}
    scores = random.random((2, 2, 5, 6, 7))
    folders = [save(tmp_path / name, one, **naming) for name, one in zip("xy", scores, strict=True)]
    assert average(*folders, out=tmp_path / "out") == 0
    mean = scores.astype(np.float16).astype(np.float32).mean(axis=0)
    expected = np.where(mean[1] > 0.5, 300, np.where(mean[0] > 0.5, 1, 0))
    np.testing.assert_array_equal(made(tmp_path / "out"), expected)


def test_it_gives_what_all_networks_together_give(
    scans: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opinions: dict[NetworkEngine, float] = {}
    shift = [0.0]

    def own_opinion(engine: NetworkEngine, tiles: Tensor) -> Tensor:
        own = opinions.setdefault(engine, shift[0] + len(opinions))
        return torch.cat([0 * tiles, tiles - own, -tiles - 0.5 + own], dim=1)

    monkeypatch.setattr(NetworkEngine, "__call__", own_opinion)
    other = save_model(tmp_path / "other.pt", 1)
    both = tmp_path / "both"
    assert predict(scans, both, model, other, options=("--probabilities",)) == 0
    for name, path in (("x", model), ("y", other)):
        opinions.clear()
        shift[0] = float(name == "y")
        assert predict(scans, tmp_path / name, path, options=("--probabilities",)) == 0
    assert average(tmp_path / "x", tmp_path / "y", out=tmp_path / "out") == 0
    for name in ("anisotropic", "oblique", "swapped"):
        whole = probabilities(both, name).astype(np.float32)
        ranked = np.sort(whole, axis=0)
        clear = ranked[-1] - ranked[-2] > 5e-3
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(made(tmp_path / "out", name)[clear], made(both, name)[clear])


def test_done_cases_are_kept_until_their_probabilities_change(
    tmp_path: Path, scores: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [save(tmp_path / name, one) for name, one in zip("xy", scores, strict=True)]
    out = tmp_path / "out"
    for told in ("1 made, 0 kept", "0 made, 1 kept"):
        assert average(*folders, out=out) == 0
        assert told in capsys.readouterr().out
    save(tmp_path / "y", scores[0])
    assert average(*folders, out=out) == 0
    assert "1 made, 0 kept" in capsys.readouterr().out
    assert average(*folders, out=out, options=("--weights", "2,1")) == 2
    assert "made with other ensemble" in capsys.readouterr().err


def test_what_cannot_be_averaged_is_one_line(
    tmp_path: Path, scores: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    good, out = save(tmp_path / "good", scores[0]), tmp_path / "out"
    moved = AFFINE + np.outer([0, 0, 9, 0], [0, 0, 0, 1])
    elsewhere = save(tmp_path / "elsewhere", scores[1], affine=moved)
    named = {"labels": {"heart": 1, "tumour": 300}, "regions": {"heart": [1]}}
    others = save(tmp_path / "others", scores[1], **named)
    pairs = [("both", [1, 300]), ("tumour", [300])]
    of_regions = {"region_training": True, "region_values": [1, 300]}
    one, other = (
        save(tmp_path / name, scores[0][:2], regions=dict(order), **of_regions)
        for name, order in (("one", pairs), ("other", pairs[::-1]))
    )
    fewer = save(tmp_path / "fewer", scores[1][:2])
    apart = save(tmp_path / "apart", scores[1], case="b")
    cut = save(tmp_path / "cut", scores[1])
    path = cut / "a_probabilities.h5"
    path.write_bytes(path.read_bytes()[:-200])
    older = save(tmp_path / "older", scores[1])
    write_npz(older, scores[1])
    path = older / "a_probabilities.npz"
    path.write_bytes(path.read_bytes()[:-200])
    flat, nowhere = (save(tmp_path / name, scores[1]) for name in ("flat", "nowhere"))
    for folder, factor in ((flat, 0.0), (nowhere, np.nan)):
        with h5py.File(folder / "a_probabilities.h5", "r+") as file:
            file.attrs["affine"] = AFFINE * factor
    with h5py.File(save(tmp_path / "named", scores[1]) / "a_probabilities.h5", "r+") as file:
        file.attrs["names"] = ["background", "tumour", "liver"]
    with h5py.File(save(tmp_path / "linked", scores[1]) / "a_probabilities.h5", "r+") as file:
        del file["probabilities"]
        file["probabilities"] = h5py.ExternalLink(good / "a_probabilities.h5", "probabilities")
    with h5py.File(save(tmp_path / "huge", scores[1]) / "a_probabilities.h5", "r+") as file:
        del file["probabilities"]
        file.create_dataset("probabilities", (3, *[2**12] * 3), np.float16, chunks=(1, 64, 64, 64))
    broken = save(tmp_path / "broken", np.where(np.arange(5) == 2, np.nan, scores[1]))
    (tmp_path / "nothing").mkdir()
    old = save(tmp_path / "old", scores[1])
    (old / "predict.json").write_text("{}")
    for folders, text in (
        ((good, elsewhere), "lies on another grid"),
        ((good, others), "differ"),
        ((one, other), "differ"),
        ((good, fewer), "holds 2 classes or regions, there are 3"),
        ((good, apart), "no case in common"),
        ((good, cut), "a_probabilities.h5 cannot be read: it is damaged or cut off. Predict it"),
        ((good, older), "a_probabilities.npz cannot be read"),
        ((good, tmp_path / "named"), "is of other classes or regions than its folder's"),
        ((good, tmp_path / "linked"), "not as mednext predict writes it"),
        ((good, tmp_path / "huge"), "claims to be far larger than it is"),
        ((good, broken), "holds NaN"),
        ((flat, good), "not as mednext predict writes it"),
        ((nowhere, good), "not as mednext predict writes it"),
        ((good, tmp_path / "nothing"), "predict.json is missing, which says"),
        ((good, old), "predict.json does not say"),
        ((good,), "needs two folders"),
        ((good, good), "needs two folders"),
    ):
        assert average(*folders, out=out) == 2, text
        error = capsys.readouterr().err
        assert text in error
        assert "Traceback" not in error
    assert not (out / "a.nii.gz").exists()


def test_cases_that_not_all_have_are_named(
    tmp_path: Path, scores: list[np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [save(tmp_path / name, one) for name, one in zip("xy", scores, strict=True)]
    save(tmp_path / "x", scores[0], case="b")
    assert average(*folders, out=tmp_path / "out") == 0
    assert "passed over: b (not in every folder)" in capsys.readouterr().err
