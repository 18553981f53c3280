"""Steps of post-processing on label maps that are known voxel by voxel."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.postprocessing.apply import Change, apply_steps
from mednext_cli.inference.postprocessing.find import find_steps
from mednext_cli.inference.postprocessing.steps import (
    FILE_NAME,
    Operation,
    Postprocessing,
    Step,
    load_postprocessing,
    save_postprocessing,
)
from mednext_cli.settings.labels import labels_in_order

LABELS = labels_in_order("liver,tumour")


def step(operation: Operation, *values: int, minimum_ml: float = 0.0) -> Step:
    return Step(structure="it", values=values, operation=operation, minimum_ml=minimum_ml)


def balls(*places: tuple[int, int, int, int]) -> np.ndarray:
    """Cubes of so many voxels along a side, each from a corner on."""
    made = np.zeros((20, 18, 16), np.uint8)
    for x, y, z, side in places:
        made[x : x + side, y : y + side, z : z + side] = 1
    return made


def test_only_the_largest_component_stays() -> None:
    labels = balls((1, 1, 1, 3), (8, 8, 8, 5), (15, 1, 1, 2))
    [change] = apply_steps(labels, [step("largest_component", 1)], 0.001)
    np.testing.assert_array_equal(labels, balls((8, 8, 8, 5)))
    assert change == Change(change.step, parts=2, voxels=27 + 8)


def test_voxels_that_share_a_corner_belong_together() -> None:
    labels = balls((1, 1, 1, 3), (4, 4, 4, 3))
    before = labels.copy()
    assert apply_steps(labels, [step("largest_component", 1)], 0.001)[0].parts == 0
    np.testing.assert_array_equal(labels, before)


def test_a_union_is_one_structure() -> None:
    labels = balls((1, 1, 1, 4), (10, 10, 10, 5))
    labels[5, 1:5, 1:5] = 2  # a tumour at the small liver makes it 80 voxels, the other has 125
    apply_steps(labels, [step("largest_component", 1, 2)], 0.001)
    np.testing.assert_array_equal(labels, balls((10, 10, 10, 5)))


@pytest.mark.parametrize(("minimum_ml", "left"), [(0.26, 2), (0.27, 2), (0.28, 1), (2.0, 0)])
def test_parts_below_a_volume_go(minimum_ml: float, left: int) -> None:
    labels = balls((1, 1, 1, 3), (8, 8, 8, 5))
    apply_steps(labels, [step("minimum_volume", 1, minimum_ml=minimum_ml)], 0.01)
    assert ndimage.label(labels)[1] == left


def test_holes_are_filled_with_background_only() -> None:
    labels = balls((2, 2, 2, 7))
    labels[4, 4, 4] = 0
    labels[6, 6, 5:7] = 0
    labels[6, 6, 6] = 2  # a tumour in the liver is none
    expected = balls((2, 2, 2, 7))
    expected[6, 6, 6] = 2
    labels[2, 5, 5] = expected[2, 5, 5] = 0  # a dent in its surface is none either
    [change] = apply_steps(labels, [step("fill_holes", 1)], 0.001)
    np.testing.assert_array_equal(labels, expected)
    assert (change.parts, change.voxels) == (2, 2)


def test_files_order_of_axes_changes_nothing() -> None:
    random = np.random.default_rng(0).random((20, 18, 16)) > 0.75
    steps = [step("minimum_volume", 1, minimum_ml=0.004), step("fill_holes", 1)]
    one = random.astype(np.uint8)
    other = np.asfortranarray(one)
    apply_steps(one, steps, 0.001)
    apply_steps(other, steps, 0.001)
    np.testing.assert_array_equal(one, other)


def test_a_structure_that_is_not_there_changes_nothing() -> None:
    labels = balls((1, 1, 1, 3))
    changes = apply_steps(labels, [step("largest_component", 2), step("fill_holes", 300)], 0.001)
    assert [change.voxels for change in changes] == [0, 0]
    np.testing.assert_array_equal(labels, balls((1, 1, 1, 3)))


def stored(folder: Path, *steps: Step) -> Path:
    folder.mkdir(exist_ok=True)
    made = Postprocessing(labels=dict(LABELS.names), steps=steps, cases=5)
    save_postprocessing(folder / FILE_NAME, made)
    return folder


def test_what_is_stored_with_a_model_is_found(tmp_path: Path) -> None:
    steps = (step("largest_component", 1), step("minimum_volume", 2, minimum_ml=0.3))
    run = stored(tmp_path / "run", *steps)
    assert find_steps([run], LABELS) == steps
    assert find_steps([run / "checkpoint_last.pt"], LABELS) == steps
    assert find_steps([tmp_path], LABELS) == ()
    assert find_steps([tmp_path], LABELS, given=run) == steps
    assert find_steps([run, stored(tmp_path / "same", *steps)], LABELS) == steps


def test_models_that_do_not_share_it_are_refused(tmp_path: Path) -> None:
    run = stored(tmp_path / "run", step("largest_component", 1))
    other = stored(tmp_path / "other", step("fill_holes", 1))
    for models in ([run, other], [run, tmp_path]):
        with pytest.raises(SettingsError, match="do not share their post-processing"):
            find_steps(models, LABELS)
    with pytest.raises(SettingsError, match="fitted for other labels"):
        find_steps([run], labels_in_order("heart,lung"))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"steps": [{"structure": "x", "values": [9], "operation": "fill_holes"}]},
        {"steps": [{"structure": "x", "values": [1], "operation": "dilate"}]},
        {"steps": [{"structure": "x", "values": [], "operation": "fill_holes"}]},
        {"further": 1},
    ],
)
def test_damage_is_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    path = stored(tmp_path / "run", step("largest_component", 1)) / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match="holds no post-processing"):
        load_postprocessing(path)
