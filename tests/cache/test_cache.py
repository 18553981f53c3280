import json
import multiprocessing
import os
import pickle
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest

from mednext_cli.cache.case_file import open_case_file
from mednext_cli.cache.description import CaseEntry, Description, write_description
from mednext_cli.cache.reader import CachedDataset, open_cache
from mednext_cli.cache.writer import CaseRecord, write_case, write_index
from mednext_cli.foundation.errors import CacheError, StorageError
from tests.settings.examples import FINGERPRINT, PLAN

SHAPE = (2, 70, 20, 130)


def record(case_id: str, labelled: bool = True) -> CaseRecord:
    random = np.random.default_rng(len(case_id))
    label = random.integers(0, 3, SHAPE[1:]).astype(np.uint8)
    return CaseRecord(
        case_id=case_id,
        key="key",
        image=random.normal(size=SHAPE).astype(np.float16),
        label=label if labelled else None,
        foreground={1: np.argwhere(label == 1)[:50].astype(np.uint16)} if labelled else {},
        geometry={"box": [[0, 1]]},
        sources={"images": ["a.nii.gz", "b.nii.gz"], "label": "l.nii.gz" if labelled else None},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache with a labelled and an unlabelled case."""
    made = tmp_path / "Blobs"
    for case_id in ("one", "another"):
        write_case(made, record(case_id, labelled=case_id == "one"))
    cases = {
        name: CaseEntry(labelled=name == "one", shape=SHAPE, content=[[["hash", None]], "other"])
        for name in ("one", "another")
    }
    write_description(made, Description(plan=PLAN, fingerprint=FINGERPRINT, cases=cases))
    write_index(made, ("one", "another"))
    return made


def test_what_is_written_is_read(folder: Path) -> None:
    cached = open_cache(folder)
    expected = record("one")
    assert cached.name == "Blobs"
    assert cached.case_ids == ("another", "one")
    assert cached.labelled_ids == ("one",)
    case = cached.case("one")
    assert case.image_shape == SHAPE
    image = case.read_image()
    assert image.dtype == np.float32
    assert np.array_equal(image, expected.image.astype(np.float32))
    assert expected.label is not None
    region = (slice(60, 70), slice(3, 9), slice(0, 128))
    assert np.array_equal(case.read_image(region), image[(slice(None), *region)])
    assert np.array_equal(case.read_label(region), expected.label[region])
    assert case.read_label().dtype == np.uint8
    assert np.array_equal(case.foreground[1], expected.foreground[1])
    assert case.geometry == {"box": [[0, 1]]}
    assert case.image_paths == ["a.nii.gz", "b.nii.gz"]
    assert case.label_path == "l.nii.gz"
    assert case.key == "key"
    assert cached.case("another").label_path is None
    assert cached.case("another").foreground == {}
    case.check()
    cached.close()


def test_one_file_links_all_cases(folder: Path) -> None:
    with h5py.File(folder / "index.h5") as index:
        assert index["one/image"].shape == SHAPE
        assert np.array_equal(index["one/label"][0], record("one").label[0])


def test_files_moved_together_still_belong_together(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "moved")
    with h5py.File(moved / "index.h5") as index:
        assert index["another/image"].shape == SHAPE
    assert open_cache(moved).case("one").read_label().shape == SHAPE[1:]


def mean_of(cached: CachedDataset) -> float:
    return float(cached.case("one").read_image().mean())


@pytest.mark.slow
def test_handles_stay_in_their_process(folder: Path) -> None:
    cached = open_cache(folder)
    expected = mean_of(cached)
    assert mean_of(pickle.loads(pickle.dumps(cached))) == expected  # noqa: S301
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        assert pool.apply(mean_of, (cached,)) == expected


def test_a_forked_process_opens_files_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = open_cache(folder)
    path = cached.case("one").path
    before = cached.open_file(path)
    assert cached.open_file(path) is before
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert cached.open_file(path) is not before


def test_few_files_are_open_at_once(folder: Path) -> None:
    names = [f"case_{number}" for number in range(40)]
    for name in names:
        write_case(folder, record(name))
    cases = {name: CaseEntry(labelled=True, shape=SHAPE) for name in names}
    write_description(folder, Description(plan=PLAN, fingerprint=FINGERPRINT, cases=cases))
    cached = open_cache(folder)
    handles = [cached.open_file(cached.case(name).path) for name in names]
    assert sum(bool(handle) for handle in handles) <= 32
    assert cached.case(names[0]).read_label().shape == SHAPE[1:]


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_is_no_cache_says_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match=r"not a cache.*mednext preprocess"):
        open_cache(tmp_path)
    description = folder / "dataset.json"
    change(description, version=99)
    with pytest.raises(CacheError, match=r"another version.*99.*--force"):
        open_cache(folder)
    change(description, format="something else")
    with pytest.raises(CacheError, match="not of a mednext cache"):
        open_cache(folder)
    description.write_text('{"format": "mednext cache", "version": 1}')
    with pytest.raises(CacheError, match="lacks cases, fingerprint, plan"):
        open_cache(folder)
    description.write_text("{")
    with pytest.raises(CacheError, match="not valid JSON"):
        open_cache(folder)


def test_a_damaged_case_is_named(folder: Path) -> None:
    cached = open_cache(folder)
    with pytest.raises(CacheError, match="Did you mean one"):
        cached.case("onee")
    with pytest.raises(CacheError, match="has no label"):
        cached.case("another").read_label()
    path = cached.case("one").path
    with h5py.File(path, "r+") as file:
        file["image"][0, 0, 0, 0] = 3
    with pytest.raises(CacheError, match=r"one\.h5: image does not match its checksum"):
        open_cache(folder).case("one").check()
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 0
    with pytest.raises(CacheError, match=r"one\.h5 is of another version"):
        open_case_file(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CacheError, match=r"one\.h5 is damaged"):
        open_case_file(path)
    path.unlink()
    with pytest.raises(CacheError, match=r"one\.h5 does not exist"):
        open_cache(folder).case("one").read_image()


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"one\.h5 cannot be written: no space left.*Free"):
        write_case(tmp_path, record("one"))
    assert list(tmp_path.iterdir()) == []
