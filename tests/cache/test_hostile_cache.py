"""A cache from anybody: nothing outside it is read, nothing grows, each fault is one line."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.foundation.errors import CacheError
from tests.cache.test_cache import SHAPE, folder  # noqa: F401 - a fixture
from tests.fuzzing import damaged_bytes, damaged_json, limits, only_ours, seeds

Capture = pytest.CaptureFixture[str]


def _external_link(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.ExternalLink("another.h5", "/label")


def _soft_link(file: h5py.File) -> None:
    del file["label"]
    file["label"] = h5py.SoftLink("/image")


def _external_group(file: h5py.File) -> None:
    del file["foreground"]
    file["foreground"] = h5py.ExternalLink("/etc/passwd", "/")


def _external_storage(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset(
        "label", SHAPE[1:], np.uint8, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(SHAPE[1:], np.uint8)
    layout[...] = h5py.VirtualSource("another.h5", "label", SHAPE[1:])
    del file["label"]
    file.create_virtual_dataset("label", layout)


def _references(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", data=np.full((1, 1, 1), file.ref, h5py.ref_dtype))


def _texts(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", (2, 2, 2), h5py.string_dtype())


def _huge(file: h5py.File) -> None:
    del file["image"]
    file.create_dataset("image", (1, 10**5, 10**5, 10**5), np.float32, chunks=(1, 64, 64, 64))


def _large_chunk(file: h5py.File) -> None:
    del file["image"]
    file.create_dataset("image", SHAPE, np.float32, chunks=(2, 70, 20, 130), maxshape=(None,) * 4)
    del file["label"]
    file.create_dataset("label", (600, 600, 600), np.uint8, chunks=(600, 600, 600))


def _other_shape(file: h5py.File) -> None:
    del file["label"]
    file.create_dataset("label", data=np.zeros((3, 3, 3), np.uint8))


def _complex(file: h5py.File) -> None:
    del file["image"]
    file.create_dataset("image", data=np.zeros((1, 3, 3, 3), np.complex64))


def _surplus(file: h5py.File) -> None:
    file.create_dataset("surplus", data=np.zeros(3))


def _no_class(file: h5py.File) -> None:
    file.create_dataset("foreground/../x", data=np.zeros((3, 3), np.uint8))


def _group(file: h5py.File) -> None:
    del file["label"]
    file.create_group("label")


CHANGES = [
    *(_external_link, _soft_link, _external_group, _external_storage, _virtual, _references),
    *(_texts, _huge, _large_chunk, _other_shape, _complex, _surplus, _no_class, _group),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_case_file_holds_a_case_and_nothing_else(
    folder: Path,  # noqa: F811
    capsys: Capture,
    change: Callable[[h5py.File], None],
) -> None:
    path = folder / "one.h5"
    with h5py.File(path, "r+") as file:
        change(file)
    with limits(), pytest.raises(CacheError, match=r"one\.h5 is (damaged|of another run)"):
        open_cache(folder).case("one").read_label()
    with limits():
        assert main(["datasets", "verify", "--cache", str(folder), "--workers", "0"]) == 2
    assert "one.h5" in capsys.readouterr().err


def test_reading_and_verifying_compare_shapes(folder: Path, capsys: Capture) -> None:  # noqa: F811
    path = folder / "dataset.json"
    description = json.loads(path.read_text())
    description["cases"]["another"]["shape"] = [2, 70, 20, 131]
    path.write_text(json.dumps(description))
    with pytest.raises(CacheError, match="of another run"):
        open_cache(folder).case("another").read_image()
    assert main(["datasets", "verify", "--cache", str(folder), "--workers", "0"]) == 2
    assert "another.h5 is of another run than dataset.json" in capsys.readouterr().err


def test_a_label_that_should_be_there(folder: Path, capsys: Capture) -> None:  # noqa: F811
    path = folder / "dataset.json"
    description = json.loads(path.read_text())
    description["cases"]["another"]["labelled"] = True
    path.write_text(json.dumps(description))
    assert main(["datasets", "verify", "--cache", str(folder), "--workers", "0"]) == 2
    assert "no checksum of its label" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name",
    ["../one", "/etc/passwd", "..", "a/b", "a\\b", "\x1b[31mred", "a\nb", "", "x" * 251, "index"],
)
def test_names_do_not_lead_out_of_the_cache(folder: Path, name: str) -> None:  # noqa: F811
    path = folder / "dataset.json"
    whole = json.loads(path.read_text())
    cases = {**whole["cases"], name: whole["cases"]["one"]}
    path.write_text(json.dumps({**whole, "cases": cases}))
    with pytest.raises(CacheError) as error:
        open_cache(folder)
    assert "\x1b" not in str(error.value)
    if name != "index":
        path.write_text(json.dumps({**whole, "plan": {"dataset": name}}))
        with pytest.raises(CacheError, match=r"plan\.dataset"):
            open_cache(folder)


def test_foreground_lies_in_the_image(folder: Path) -> None:  # noqa: F811
    with h5py.File(folder / "one.h5", "r+") as file:
        file["foreground/1"][0, 0] = 70
    with pytest.raises(CacheError, match="foreground/1 lies outside"):
        _ = open_cache(folder).case("one").foreground


def _read_all(folder: Path) -> None:  # noqa: F811
    cached = open_cache(folder)
    try:
        for case_id in cached.case_ids[:5]:
            case = cached.case(case_id)
            case.read_image((slice(0, 8), slice(0, 8), slice(0, 8)))
            _ = (case.foreground, case.geometry, case.image_paths, case.label_path, case.key)
            case.check()
    finally:
        cached.close()


def test_whatever_dataset_json_says(folder: Path) -> None:  # noqa: F811
    path = folder / "dataset.json"
    whole = json.loads(path.read_text())
    for seed in seeds(150):
        path.write_text(json.dumps(damaged_json(whole, seed)))
        with limits(), only_ours(seed):
            _read_all(folder)


def test_whatever_bytes_are_in_a_case_file(folder: Path) -> None:  # noqa: F811
    path = folder / "another.h5"
    content = path.read_bytes()
    for seed in seeds(100):
        place = 6000 if seed % 2 else len(content)
        path.write_bytes(damaged_bytes(content[:place], seed) + content[place:])
        with limits(), only_ours(seed):
            _read_all(folder)
