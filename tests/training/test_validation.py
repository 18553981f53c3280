"""The final validation: what `mednext predict` would give, never stale, and case by case."""

import csv
import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.inference import average
from mednext_cli.inference.torch_engine import NetworkEngine
from tests.preprocessing.synthetic import NAME, describe, image_of, label_of, make_raw, write
from tests.preprocessing.synthetic import run as preprocess

Capture = pytest.CaptureFixture[str]
SETTINGS = (
    "model.mednext.base_channels=4",
    "training.epochs=1",
    "training.iterations_per_epoch=1",
    "training.validation_iterations=0",
    "training.patch_voxels=[16, 32, 16]",
    "training.folds=2",
)


@dataclass(frozen=True)
class Run:
    """A raw folder with its cache, and a run on it."""

    raw: Path
    runs: Path

    @property
    def folder(self) -> Path:
        (made,) = (self.runs / NAME).glob("*/fold0")
        return made

    def train(self, *settings: str) -> int:
        changes = [part for one in (*SETTINGS, *settings) for part in ("--set", one)]
        folders = ["--cache", str(self.raw.parent / "cache"), "--runs", str(self.runs)]
        return main(["train", NAME, *folders, "--device", "cpu", "--recipe", "cpu", *changes])

    @property
    def label_maps(self) -> dict[str, bytes]:
        found = sorted((self.folder / "validation").glob("[!.]*.nii.gz"))
        return {path.name: path.read_bytes() for path in found}

    @property
    def dice(self) -> list[str]:
        with (self.folder / "validation" / "cases.csv").open(newline="") as stream:
            return [row["dice"] for row in csv.DictReader(stream)]


def begin(folder: Path, channels: int = 1) -> Run:
    """Four small cases in the cache, two of which validate; a run on them."""
    raw = make_raw(folder, 4)
    if channels == 2:
        for path in sorted((raw / "imagesTr").iterdir()):
            scan = np.asarray(nib.load(path).dataobj)
            write(path, np.stack([scan, scan[::-1]], axis=-1))
        describe(raw, modality={"0": "T1", "1": "T2"})
    assert preprocess(raw) == 0
    made = Run(raw, folder / "runs")
    assert made.train() == 0
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Not to be changed."""
    return begin(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of the run, with the same raw folder and cache."""
    shutil.copytree(trained.runs, tmp_path / "runs")
    return Run(trained.raw, tmp_path / "runs")


@pytest.fixture
def bare(run: Run) -> Run:
    """Trained, but not yet validated."""
    shutil.rmtree(run.folder / "validation")
    return run


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 2])
def test_validation_gives_the_label_maps_of_predict(
    trained: Run, tmp_path: Path, channels: int
) -> None:
    """Also of 4D files, one volume a channel."""
    run = trained if channels == 1 else begin(tmp_path, channels)
    made, out = run.label_maps, tmp_path / "out"
    assert len(made) == 2
    names = ",".join(name.removesuffix(".nii.gz") for name in made)
    command = ["predict", str(run.raw), "--dataset", "msd", "--model", str(run.folder)]
    assert main([*command, "--out", str(out), "--device", "cpu", "--cases", names]) == 0
    for name, content in made.items():
        predicted = (out / name).read_bytes()
        assert gzip.decompress(predicted) == gzip.decompress(content)
        assert predicted == content
        assert len(np.unique(nib.load(out / name).dataobj)) > 1


def test_the_same_weights_are_validated_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run.label_maps
    monkeypatch.setattr(average, "predict_blocks", None)
    assert run.train() == 0
    assert run.label_maps == made


@pytest.mark.slow
def test_other_weights_of_as_many_iterations_are_validated_anew(run: Run) -> None:
    made, scores = run.label_maps, run.dice
    kept = (run.folder / "checkpoint_last.pt").read_bytes()
    for path in run.folder.glob("checkpoint_*.pt"):
        path.unlink()
    assert run.train("training.learning_rate=0.2", "training.seed=7") == 0
    assert (run.folder / "checkpoint_last.pt").read_bytes() != kept
    assert run.label_maps != made
    assert run.dice != scores


@pytest.mark.slow
def test_cases_that_changed_in_the_cache_are_validated_anew(tmp_path: Path) -> None:
    run = begin(tmp_path)
    scores = run.dice
    name = next(iter(run.label_maps)).removesuffix(".nii.gz")
    label = np.asarray(nib.load(label_of(run.raw, name)).dataobj)
    write(label_of(run.raw, name), label[::-1].copy())
    assert preprocess(run.raw) == 0
    note = run.folder / "validation" / "made_by.json"
    before = json.loads(note.read_text())["cases"]
    assert run.train() == 0
    after = json.loads(note.read_text())["cases"]
    assert [key for key in after if after[key] != before[key]] == [name]
    assert run.dice != scores


@pytest.mark.slow
def test_a_scan_that_is_not_the_caches_is_refused(tmp_path: Path, capsys: Capture) -> None:
    """Nobody would know what was scored."""
    run = begin(tmp_path)
    name = next(iter(run.label_maps)).removesuffix(".nii.gz")
    scan = np.asarray(nib.load(image_of(run.raw, name)).dataobj)
    write(image_of(run.raw, name), scan[::-1].copy())
    (run.folder / "validation" / f"{name}.nii.gz").unlink()
    capsys.readouterr()
    assert run.train() == 2
    error = capsys.readouterr().err
    assert f"{name}.nii.gz or its label changed since mednext preprocess" in error
    assert "1 of 2 cases failed" in error
    assert len(run.dice) == 2  # both regions of the other case


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", '{"cases": 7}'])
def test_a_damaged_note_validates_anew(run: Run, content: str) -> None:
    made = run.label_maps
    (run.folder / "validation" / "made_by.json").write_text(content)
    (run.folder / "validation" / next(iter(made))).write_bytes(b"stale")
    assert run.train() == 0
    assert run.label_maps == made


@pytest.mark.slow
def test_an_unexpected_error_fails_one_case(
    bare: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = average.predict_blocks, []

    def faulty(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("of all things")
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(average, "predict_blocks", faulty)
        assert bare.train() == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError: of all things. This is a fault of ours" in error
    assert "1 of 2 cases failed" in error
    assert (len(bare.label_maps), len(bare.dice)) == (1, 2)
    assert bare.train() == 0
    assert (len(bare.label_maps), len(bare.dice)) == (2, 4)


def test_a_device_without_memory_is_one_line(
    bare: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(NetworkEngine, "__call__", full)
    assert bare.train() == 2
    error = capsys.readouterr().err
    assert "cpu has too little memory for a tile of 16 x 32 x 16 voxels" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_an_interrupted_validation_is_carried_on(
    bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = average.predict_blocks, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(average, "predict_blocks", interrupted)
        assert bare.train() == 130
    assert len(bare.label_maps) == 1
    assert bare.train() == 0
    assert len(calls) == 2
    assert len(bare.label_maps) == 2
