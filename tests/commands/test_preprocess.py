"""`mednext preprocess` from raw folders, good and bad, to a cache."""

import gzip
import json
import os
import shutil
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.preprocessing.run import PreprocessSpec, preprocess
from tests.places import DATA, with_real_data
from tests.preprocessing.synthetic import (
    NAME,
    cache_of,
    describe,
    image_of,
    label_of,
    make_raw,
    read,
    run,
    stored,
    write,
)

Capture = pytest.CaptureFixture[str]


def real_cases(folder: Path) -> Path:
    """Four cases of the hippocampus."""
    source = DATA / "Task04_Hippocampus"
    raw = folder / source.name
    content = json.loads((source / "dataset.json").read_text())
    content["training"] = content["training"][:4]
    for entry in content["training"]:
        for path in entry.values():
            (raw / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, raw / path)
    raw.joinpath("dataset.json").write_text(json.dumps(content))
    return raw


def made_up_cases(folder: Path) -> Path:
    """Four cases of about the same size."""
    names = {"0": "background", "1": "anterior", "2": "posterior"}
    return make_raw(folder, 4, size=(34, 50, 36), affine=np.eye(4), labels=names)


@pytest.mark.slow
@pytest.mark.parametrize("source", with_real_data("made up"))
def test_hippocampus_into_a_cache(source: str, tmp_path: Path, capsys: Capture) -> None:
    """Cases at their own spacing: z-scored copies with the labels of the files."""
    raw = real_cases(tmp_path) if source == "real" else made_up_cases(tmp_path)
    assert run(raw, workers=2) == 0
    assert "32 x 48 x 32" in capsys.readouterr().out
    cached = open_cache(tmp_path / "cache" / raw.name)
    assert len(cached.labelled_ids) == 4
    plan = cached.plan
    assert plan.label_set.names == {"anterior": 1, "posterior": 2}
    assert plan.normalisation[0].scheme == "z_score"
    case = cached.case(cached.case_ids[0])
    image, label = (read(Path(path)) for path in (case.image_paths[0], case.label_path or ""))
    made = case.read_image()[0]
    expected = (image - image.mean()) / image.std()
    assert np.allclose(made, expected.transpose(2, 1, 0), atol=5e-3)
    assert np.array_equal(case.read_label(), label.transpose(2, 1, 0))
    assert set(case.foreground) == {1, 2}
    assert case.image_shape[1:] == made.shape
    case.check()


def test_kits19_in_its_own_layout(tmp_path: Path) -> None:
    """CT with slices first, resampled to 1 mm, normalised by the foreground of all cases."""
    affine = np.array([[0, 0, -0.8, 0], [0, -0.8, 0, 0], [-2.0, 0, 0, 0], [0, 0, 0, 1]])
    for number in range(2):
        folder = tmp_path / "raw" / f"case_{number:05d}"
        noise = np.random.default_rng(number).normal(0, 100, (20, 30, 30))
        write(folder / "imaging.nii.gz", noise.astype(np.int16), affine)
        label = np.zeros(noise.shape, np.uint8)
        label[5:15, 5:25, 5:15], label[8:12, 10:20, 8:12] = 1, 2
        write(folder / "segmentation.nii.gz", label, affine)
    write(tmp_path / "raw" / "case_00002" / "imaging.nii.gz", noise.astype(np.int16), affine)
    assert run(tmp_path / "raw", layout="kits19") == 0
    cached = open_cache(tmp_path / "cache" / "kits19")
    assert cached.case_ids == ("case_00000", "case_00001")
    assert cached.plan.normalisation[0].scheme == "ct"
    assert cached.plan.label_set.regions == {"kidney_and_tumour": (1, 2), "tumour": (2,)}
    case = cached.case("case_00000")
    assert case.image_shape == (1, 40, 24, 24)
    assert abs(case.read_image()[case.read_label()[None] > 0].mean()) < 0.2


def test_channels_that_are_volumes_of_one_file(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, 2, modality="FLAIR")
    describe(raw, modality={"0": "FLAIR", "1": "T1w"})
    for name in ("case_0", "case_1"):
        first = read(image_of(raw, name))
        write(image_of(raw, name), np.stack([first, first.max() - first], axis=-1))
    assert run(raw) == 0
    cached = open_cache(cache_of(raw))
    assert cached.plan.channels == ("FLAIR", "T1w")
    image = cached.case("case_1").read_image()
    assert image.shape[0] == 2
    assert np.allclose(image[0], -image[1], atol=5e-3)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ((), (24, 22, 18)),
        (("--spacing", "median"), (12, 24, 22)),
        (("--spacing", "4,1.8,1.6"), (6, 12, 11)),
    ],
)
def test_target_spacings(tmp_path: Path, options: tuple[str, ...], shape: tuple[int, ...]) -> None:
    raw = make_raw(tmp_path, 1)
    assert run(raw, *options, "--dtype", "float32") == 0
    case = open_cache(cache_of(raw)).case("case_0")
    assert case.image_shape == (1, *shape)
    with h5py.File(case.path) as file:
        assert file["image"].dtype == np.float32


def test_run_again_only_what_changed_is_done(tmp_path: Path) -> None:
    raw = make_raw(tmp_path)
    spec = PreprocessSpec(raw, "msd", tmp_path / "cache", workers=0)
    assert (preprocess(spec).made, preprocess(spec).made) == (3, 0)
    image_of(raw).touch()
    assert preprocess(spec).made == 0
    image = read(image_of(raw))
    write(image_of(raw), image + np.int16(3))
    assert preprocess(spec).made == 1
    (tmp_path / "moved").mkdir()
    spec = replace(spec, raw=raw.rename(tmp_path / "moved" / NAME))
    assert preprocess(spec).kept == 3
    spec = replace(spec, spacing_mm=(2.0, 2.0, 2.0))
    assert preprocess(spec).made == 3
    assert preprocess(replace(spec, force=True)).made == 3
    assert preprocess(spec).kept == 3


@pytest.mark.slow
def test_unchanged_files_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = make_raw(tmp_path)
    for path in raw.rglob("*.nii.gz"):
        os.utime(path, (time.time() - 60,) * 2)
    time.sleep(2.1)  # times of files that changed just now are not relied on
    assert run(raw) == 0
    opened: list[str] = []
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *args, **kw: opened.append(self.name) or real(self, *args, **kw)
    )
    assert run(raw) == 0
    assert not [name for name in opened if name.endswith(".nii.gz")]


def test_a_case_taken_out_of_the_dataset_leaves_the_cache(tmp_path: Path) -> None:
    raw = make_raw(tmp_path)
    assert run(raw) == 0
    describe(raw, training=json.loads((raw / "dataset.json").read_text())["training"][1:])
    (cache_of(raw) / "splits.json").write_text("[]")
    assert run(raw, "--force") == 0
    assert stored(raw) == ["case_1.h5", "case_2.h5"]
    assert (cache_of(raw) / "splits.json").is_file()


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path)
    assert run(raw, "--dry-run", "--spacing", "median") == 0
    out = capsys.readouterr().out
    assert "2 x 0.9 x 0.8" in out
    assert "16 x 32 x 16" in out
    assert not (tmp_path / "cache").exists()


def coloured(raw: Path) -> None:
    colours = np.zeros((22, 24, 12), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    write(image_of(raw), colours)


def cut_off(raw: Path) -> None:
    content = image_of(raw).read_bytes()
    image_of(raw).write_bytes(content[: len(content) // 2])


def shifted(raw: Path, millimetres: float) -> None:
    image = nibabel.load(label_of(raw))
    affine = image.affine.copy()
    affine[0, 3] += millimetres
    write(label_of(raw), np.asarray(image.dataobj), affine)


def no_spacing(raw: Path) -> None:
    content = bytearray(gzip.decompress(image_of(raw).read_bytes()))
    struct.pack_into("<f", content, 80, 0.0)
    image_of(raw).write_bytes(gzip.compress(bytes(content)))


def put(path: Path, value: float) -> None:
    array = read(path).astype(np.float32)
    array[0, 0, 0] = value
    write(path, array)


WRONG: dict[str, Callable[[Path], object]] = {
    "imagesTr/case_0.nii.gz does not exist": lambda raw: image_of(raw).unlink(),
    "labelsTr/case_0.nii.gz does not exist": lambda raw: label_of(raw).unlink(),
    "imagesTr/case_0.nii.gz is damaged, cut off": cut_off,
    "is damaged, cut off or no NIfTI file": lambda raw: image_of(raw).write_bytes(b"hello"),
    "is not 3D: its shape is 22 x 24 x 12 x 2": lambda raw: write(
        image_of(raw), np.zeros((22, 24, 12, 2), np.int16)
    ),
    "is a colour image": coloured,
    "is 21 x 24 x 12, not 22 x 24 x 12": lambda raw: write(label_of(raw), read(label_of(raw))[1:]),
    "lies on another grid than": lambda raw: shifted(raw, 0.2),
    "has the label 7, the dataset has 0, 1, 2": lambda raw: put(label_of(raw), 7),
    "with the value -2": lambda raw: put(label_of(raw), -2),
    "with the value 1.5, which is not a whole number": lambda raw: put(label_of(raw), 1.5),
    "has 1 voxels that are NaN or infinite": lambda raw: put(image_of(raw), np.nan),
    "1 voxels that are NaN or inf": lambda raw: put(image_of(raw), np.inf),
    "is constant: every voxel is 5": lambda raw: write(
        image_of(raw), np.full((22, 24, 12), 5, np.int16)
    ),
    "has a spacing of 0 x 0.9 x 2 mm": no_spacing,
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_wrong_case_is_named_and_the_others_are_done(
    tmp_path: Path, capsys: Capture, reason: str
) -> None:
    raw = make_raw(tmp_path)
    WRONG[reason](raw)
    assert run(raw, "--quiet") == 2
    lines = capsys.readouterr().err.splitlines()
    named = [line for line in lines if line.startswith("warning: case_0: ")]
    assert len(named) == 1
    assert reason in named[0]
    assert str(raw) in named[0]
    assert lines[-1].startswith("error: 1 of 3 cases failed: case_0. ")
    assert not any("Traceback" in line for line in lines)
    assert stored(raw) == ["case_1.h5", "case_2.h5"]
    assert open_cache(cache_of(raw)).case_ids == ("case_1", "case_2")


RIGHT: dict[str, Callable[[Path], object]] = {
    "as it should be": lambda raw: None,
    "float labels": lambda raw: put(label_of(raw), 1),
    "an affine off by less than 1e-3": lambda raw: shifted(raw, 0.0005),
}


@pytest.mark.parametrize("what", RIGHT)
def test_what_looks_odd_and_is_right(tmp_path: Path, what: str) -> None:
    raw = make_raw(tmp_path / "mit Leerzeichen, ä")
    RIGHT[what](raw)
    assert run(raw) == 0
    assert len(stored(raw)) == 3


def test_a_case_without_foreground_is_kept_with_a_warning(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path)
    write(label_of(raw), np.zeros((22, 24, 12), np.uint8))
    assert run(raw, "--quiet") == 0
    assert "case_0: the label map is empty" in capsys.readouterr().err
    assert open_cache(cache_of(raw)).case("case_0").foreground == {}


def test_one_channel_too_few(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path, modality="T1")
    describe(raw, modality={"0": "T1", "1": "T2"})
    assert run(raw) == 2
    err = capsys.readouterr().err
    assert "case_0.nii.gz is not 4D: its shape is 22 x 24 x 12" in err
    assert "No case can be used" in err


def test_a_case_that_is_listed_twice(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path)
    training = json.loads((raw / "dataset.json").read_text())["training"]
    describe(raw, training=[*training, training[0]])
    assert run(raw) == 2
    assert "duplicate case case_0" in capsys.readouterr().err


def test_a_cache_of_another_version(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path, 1)
    assert run(raw) == 0
    path = cache_of(raw) / "dataset.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 99', 1))
    assert run(raw) == 2
    assert "--force" in capsys.readouterr().err
    assert run(raw, "--force") == 0
    assert open_cache(cache_of(raw)).case_ids == ("case_0",)


def test_options_that_cannot_be(tmp_path: Path, capsys: Capture) -> None:
    raw = make_raw(tmp_path, 1)
    assert run(raw, "--spacing", "fine") == 2
    assert run(raw, layout="kits91") == 2
    assert "kits19" in capsys.readouterr().err
    assert run(raw, "--dtype", "float8") == 2
    assert main(["preprocess", str(tmp_path / "nothing"), "--dataset", "msd"]) == 2
    assert not (tmp_path / "cache").exists()
