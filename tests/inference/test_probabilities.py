"""Files of probabilities: where voxels lie, what is told of them, and what goes wrong."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest

from mednext_cli import __version__
from mednext_cli.foundation.errors import StorageError
from mednext_cli.inference.probabilities import write_probabilities
from mednext_cli.inference.probability_sink import ProbabilitySink
from mednext_cli.preprocessing.geometry import SourceGeometry
from mednext_cli.preprocessing.restore import ProbabilityArray, Restoration
from mednext_cli.settings.labels import LabelSet
from mednext_cli.volumes.formats.dicom_objects import Origin
from mednext_cli.volumes.orientation import canonical_sizes
from mednext_cli.volumes.volume import Grid
from tests.inference.synthetic import PLAN, predict, probabilities, save_model

Capture = pytest.CaptureFixture[str]
ORIGIN = Origin("kidneys", "9.9", ("abc", "def"))
TURNED = np.array([[0, 0, -2.0, 5], [0, -1.5, 0.2, 6], [-2.5, 0, 0, 7], [0, 0, 0, 1]])
STRAIGHT = np.diag([2.0, 2.0, 2.0, 1.0])
REGIONS = replace(PLAN.label_set, region_training=True, region_values=(1, 4))


def place(affine: np.ndarray, shape: tuple[int, int, int] = (20, 11, 17)) -> SourceGeometry:
    """A scan whose outer voxels were cropped; nothing is resampled."""
    grid = Grid(shape, affine)
    whole, _ = canonical_sizes(grid)
    box = tuple((number + 1, length - 2 * number) for number, length in enumerate(whole))
    return SourceGeometry(
        file_shape=shape,
        file_affine=tuple(map(tuple, affine.tolist())),
        canonical_shape=whole,
        spacing_mm=PLAN.spacing_mm,
        box=box,
        resampled_shape=tuple(stop - start for start, stop in box),
    )


def draw(geometry: SourceGeometry, count: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(0).random((count, *geometry.cropped_shape), dtype=np.float32)
    return drawn / drawn.sum(axis=0)


@pytest.mark.parametrize("affine", [STRAIGHT, TURNED])
@pytest.mark.parametrize("labels", [PLAN.label_set, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2, 0), (2, 1)])
def test_slabs_lie_where_whole_classes_do(
    tmp_path: Path, affine: np.ndarray, labels: LabelSet, axes: tuple[int, int]
) -> None:
    geometry, path = place(affine), tmp_path / "a.h5"
    scores = draw(geometry, labels.output_channels)
    plan = PLAN.model_copy(update={"label_set": labels})
    whole = ProbabilityArray(geometry, plan)
    box = tuple(slice(0, length) for length in scores.shape[1:])
    Restoration(geometry, plan, sink=whole).add(box, scores)
    expected = whole.whole()
    with write_probabilities(path, geometry, labels, ORIGIN, axes) as writer:
        slabs = [slice(*pair) for pair in pairwise((0, 1, 6, writer.rows))]
        for rows in slabs[::-1]:
            index = [slice(None)] * 3
            index[axes[0]] = rows
            slab = scores[(slice(None), *index)]
            if rows.start:
                writer.write(None, rows, slab)
                continue
            for columns in (slice(3, writer.columns), slice(0, 3)):
                index[axes[0]], index[axes[1]] = slice(None), columns
                for number, one in enumerate(slab):
                    writer.write(number, rows, one[tuple(index)], columns)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["probabilities"], expected)
        assert file["probabilities"].dtype == np.float16


@pytest.mark.parametrize("affine", [STRAIGHT, TURNED])
@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2, 0), (2, 1)])
def test_blocks_of_any_size_are_gathered(
    tmp_path: Path, affine: np.ndarray, axes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a sliding window makes them, row by row; what waits fills no chunk."""
    monkeypatch.setattr("mednext_cli.inference.probabilities._VOXELS", 8 * 32 * 45)
    geometry, path = place(affine, (45, 110, 77)), tmp_path / "a.h5"
    scores, labels = draw(geometry), PLAN.label_set
    whole, sink = ProbabilityArray(geometry, PLAN), ProbabilitySink(
        path, geometry, labels, ORIGIN, axes
    )  # fmt: skip
    starts, lengths = [start for start, _ in geometry.box], geometry.cropped_shape
    rows, columns = (
        [*range(0, lengths[axis], size), lengths[axis]]
        for axis, size in zip(axes, (19, 23), strict=True)
    )
    for row in pairwise(rows):
        for column in pairwise(columns):
            inner = [slice(0, length) for length in lengths]
            inner[axes[0]], inner[axes[1]] = slice(*row), slice(*column)
            box = tuple(
                slice(start + part.start, start + part.stop)
                for start, part in zip(starts, inner, strict=True)
            )
            for index, one in enumerate(scores):
                for taker in (whole, sink):
                    taker.write(index, box, one[tuple(inner)])
    sink.finish()
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["probabilities"], whole.whole())


def test_columns_that_fill_chunks(tmp_path: Path) -> None:
    """Of 32, counted from the other end where the file's axis runs against ours."""
    for affine, shape, expected in (
        (STRAIGHT, (512, 100, 17), 30),
        (TURNED, (17, 100, 512), 34),
    ):
        geometry, path = place(affine, shape), tmp_path / "a.h5"
        with write_probabilities(path, geometry, PLAN.label_set, ORIGIN) as writer:
            assert [writer.whole_chunks(n) - n for n in (0, writer.columns)] == [0, 0]
            assert writer.whole_chunks(expected) == writer.whole_chunks(expected + 20) == expected
            assert writer.whole_chunks(expected - 1) < expected - 1
            writer.write(None, slice(0, writer.rows), draw(geometry))


@pytest.mark.parametrize(
    ("shape", "chunks"), [((20, 90, 80), (20, 90, 8)), ((600, 90, 20), (512, 32, 8))]
)
def test_chunks_have_as_many_voxels_whatever_the_shape(
    tmp_path: Path, shape: tuple[int, int, int], chunks: tuple[int, int, int]
) -> None:
    geometry, path = place(STRAIGHT, shape), tmp_path / "a.h5"
    with write_probabilities(path, geometry, PLAN.label_set, ORIGIN) as writer:
        writer.write(None, slice(0, writer.rows), draw(geometry))
    with h5py.File(path) as file:
        assert file["probabilities"].chunks == (1, *chunks)


@pytest.mark.parametrize("labels", [PLAN.label_set, REGIONS], ids=["classes", "regions"])
def test_what_is_told_of_them(tmp_path: Path, labels: LabelSet) -> None:
    """By h5py in a process that has no plugins for HDF5."""
    geometry, path = place(TURNED), tmp_path / "a.h5"
    with write_probabilities(path, geometry, labels, ORIGIN) as writer:
        writer.write(None, slice(0, writer.rows), draw(geometry, labels.output_channels))
    script = (
        "import sys, json, h5py; file = h5py.File(sys.argv[1]);"
        "print(json.dumps({name: getattr(value, 'tolist', lambda: value)()"
        " for name, value in file.attrs.items()}));"
        "print(float(file['probabilities'][:].max()), 'hdf5plugin' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(path)]
    told, read = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(
        "\n", 1
    )
    regions = labels.region_training
    assert read.split()[1] == "False"
    assert float(read.split()[0]) > 0.5
    found = json.loads(told)
    np.testing.assert_allclose(found.pop("spacing_mm"), np.linalg.norm(TURNED[:3, :3], axis=0))
    assert found == {
        "format": "mednext probabilities",
        "version": 1,
        "affine": TURNED.tolist(),
        "kind": "regions" if regions else "classes",
        "names": ["kidney", "tumour"] if regions else ["background", "kidney", "tumour"],
        "values": [1, 4] if regions else [0, 1, 4],
        "task": "kidneys",
        "models": ["abc", "def"],
        "mednext": "9.9",
    }


def test_rows_that_are_missing_or_come_twice(tmp_path: Path) -> None:
    geometry, path = place(STRAIGHT), tmp_path / "a.h5"
    scores = draw(geometry)

    def write(given: list[slice]) -> None:
        with write_probabilities(path, geometry, PLAN.label_set, ORIGIN) as writer:
            for rows in given:
                writer.write(None, rows, scores[:, rows])

    for given, text in (
        ([slice(0, 4)], "row 4 of class 0 was never written"),
        ([slice(0, 4), slice(3, 6)], "rows 3 to 6 of class 0 are written"),
        ([slice(10, 40)], "are not rows 10 to 40 of the box"),
    ):
        with pytest.raises(ValueError, match=text):
            write(given)
        assert not list(tmp_path.iterdir())


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files stands in for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_disk_that_is_full_while_slabs_come(tmp_path: Path, share: float) -> None:
    geometry, path = place(STRAIGHT, (80, 70, 60)), tmp_path / "a.h5"
    scores = draw(geometry)

    def write(target: Path) -> None:
        with write_probabilities(target, geometry, PLAN.label_set, ORIGIN) as writer:
            for row in range(0, writer.rows, 5):
                rows = slice(row, min(row + 5, writer.rows))
                writer.write(None, rows, scores[:, rows])

    write(path)
    whole = path.read_bytes()
    with largest_file(int(share * len(whole))), pytest.raises(StorageError) as caught:
        write(path)
    assert caught.value.errno == errno.EFBIG
    assert str(path) in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_full_disk_ends_the_run_in_a_line(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture, workers: str
) -> None:
    options = ("--workers", workers, "--probabilities", "--overlap", "0")
    with largest_file(9_000):
        assert predict(scans, tmp_path / "out", model, options=options) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "predicting" not in line]
    assert len(error) == 1, error
    assert "_probabilities.h5 cannot be written: " in error[0]
    assert os.strerror(errno.EFBIG).lower() in error[0]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["predict.json"]
    assert predict(scans, tmp_path / "out", model, options=options) == 0


@pytest.mark.slow
def test_killed_while_slabs_come(tmp_path: Path) -> None:
    """Half a file lies beside the place until somebody writes there again."""
    path = tmp_path / "a.h5"
    script = (
        "import os\n"
        "from pathlib import Path\n"
        "from tests.inference.test_probabilities import *\n"
        "geometry = place(STRAIGHT)\n"
        f"with write_probabilities(Path({str(path)!r}), geometry, PLAN.label_set, ORIGIN) as w:\n"
        "    w.write(None, slice(0, 4), draw(geometry)[:, :4])\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [file.name[0] for file in tmp_path.iterdir()] == ["."]
    geometry = place(STRAIGHT)
    with write_probabilities(path, geometry, PLAN.label_set, ORIGIN) as writer:
        writer.write(None, slice(0, writer.rows), draw(geometry))
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


def test_a_folder_of_an_earlier_version_is_made_anew(
    scans: Path, model: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Where probabilities are asked for; else it is done."""
    out, options = tmp_path / "out", ("--overlap", "0")
    for name in ("oblique", "swapped"):
        (scans / f"{name}.nii.gz").unlink()
    assert predict(scans, out, model, options=(*options, "--probabilities")) == 0
    made = probabilities(out, "anisotropic")
    (out / "anisotropic_probabilities.h5").unlink()
    older = out / "anisotropic_probabilities.npz"
    np.savez_compressed(older, probabilities=made, affine=np.eye(4))
    assert predict(scans, out, model, options=options) == 0
    assert "0 made, 1 kept" in capsys.readouterr().out
    assert older.exists()
    assert predict(scans, out, model, options=(*options, "--probabilities")) == 0
    assert "1 made, 0 kept" in capsys.readouterr().out
    assert not older.exists()
    np.testing.assert_array_equal(probabilities(out, "anisotropic"), made)


def test_of_the_networks_that_made_them(scans: Path, model: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", save_model(tmp_path / "other.pt", 1)
    assert predict(scans, out, model, other, options=("--probabilities", "--overlap", "0")) == 0
    decisive = json.loads((out / "predict.json").read_text())["settings"]
    for path in out.glob("*.h5"):
        with h5py.File(path) as file:
            assert list(file.attrs["models"]) == decisive["models"]
            assert file.attrs["mednext"] == __version__
            assert file.attrs["task"] == PLAN.dataset
