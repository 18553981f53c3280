"""The order of the channels decides what is cached, though no file changes."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.preprocessing.synthetic import blob, run, write

SHAPE = (22, 24, 12)


def make(folder: Path, channels: tuple[str, str] = ("T1", "T2")) -> Path:
    """An nnU-Net folder that names every file: two cases of two channels."""
    raw = folder / "Dataset001_Two"
    for case in ("a", "b"):
        label = np.zeros(SHAPE, np.uint8)
        label[blob(SHAPE, (0.5, 0.5, 0.5), 0.5)] = 1
        for index in range(2):
            noise = np.random.default_rng(index + ord(case)).normal(100, 20, SHAPE)
            write(
                raw / "imagesTr" / f"{case}_{index}.nii.gz", (noise + 50 * label).astype(np.int16)
            )
        write(raw / "labelsTr" / f"{case}.nii.gz", label)
    describe(raw, channels, (0, 1))
    return raw


def describe(raw: Path, channels: tuple[str, str], order: tuple[int, int]) -> None:
    cases = {
        case: {
            "images": [f"imagesTr/{case}_{index}.nii.gz" for index in order],
            "label": f"labelsTr/{case}.nii.gz",
        }
        for case in ("a", "b")
    }
    content = {
        "channel_names": dict(zip("01", channels, strict=True)),
        "labels": {"background": 0, "blob": 1},
        "file_ending": ".nii.gz",
        "dataset": cases,
    }
    (raw / "dataset.json").write_text(json.dumps(content))


def images(raw: Path) -> dict[str, np.ndarray]:
    """The cached image (C, D, H, W) of each case."""
    found = {}
    for path in sorted((raw.parent / "cache" / raw.name).rglob("[ab].h5")):
        with h5py.File(path) as file:
            arrays: list[np.ndarray] = []
            file.visititems(
                lambda _, item, arrays=arrays: (
                    arrays.append(item[()])
                    if isinstance(item, h5py.Dataset) and item.ndim == 4
                    else None
                )
            )
        found[path.stem] = next(array for array in arrays if len(array) == 2)
    return found


def test_swapped_files_make_every_case_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = make(tmp_path)
    assert run(raw, layout="nnunet") == 0
    before = images(raw)
    assert run(raw, layout="nnunet") == 0
    assert "cases made\t0" in capsys.readouterr().out
    describe(raw, ("T1", "T2"), (1, 0))
    assert run(raw, layout="nnunet") == 0
    assert "cases made\t2" in capsys.readouterr().out
    after = images(raw)
    for case in ("a", "b"):
        np.testing.assert_array_equal(after[case], before[case][::-1])


def test_a_channel_that_becomes_ct_makes_every_case_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names decide the normalisation: CT and PET in the other order are other numbers."""
    raw = make(tmp_path, ("CT", "PET"))
    assert run(raw, layout="nnunet") == 0
    before = images(raw)
    describe(raw, ("PET", "CT"), (0, 1))
    capsys.readouterr()
    assert run(raw, layout="nnunet") == 0
    assert "cases made\t2" in capsys.readouterr().out
    assert not np.array_equal(images(raw)["a"], before["a"])
