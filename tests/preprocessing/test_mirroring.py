"""Which classes mirroring swaps: halves and sides, not what lies within another."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mednext_cli.app import main
from mednext_cli.cache.reader import open_cache
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.preprocessing.mirroring import common_swaps, landings_of
from mednext_cli.settings.mirror_axes import AXES
from tests.places import DATA
from tests.preprocessing.synthetic import make_raw

D, H, W = 0, 1, 2
NAMES = {"one": 1, "two": 2}


def _box(shape: tuple[int, int, int] = (30, 40, 50)) -> NDArray[np.uint8]:
    return np.zeros(shape, dtype=np.uint8)


def _swapped_axes(*labels: NDArray[np.uint8]) -> list[str]:
    found = common_swaps([landings_of(label) for label in labels], NAMES)
    assert all(pairs == (("one", "two"),) for pairs in found.values())
    return list(found)


def test_halves_are_swapped_along_the_axis_between_them() -> None:
    label = _box()
    label[5:20, 3:15, 10:30] = 2
    label[5:20, 15:35, 10:30] = 1
    present, landings = landings_of(label)
    assert present == (1, 2)
    # Of 20 planes 12 land on the other class and 8 on their own; all of the other 12 cross.
    assert landings == ((H, 1, 2, 0.6, 1.0),)
    assert _swapped_axes(label) == ["anterior_posterior"]


def test_organs_of_two_sides_are_swapped_wherever_they_lie_in_the_scan() -> None:
    label = _box()
    label[4:10, 20:30, 2:8], label[3:11, 18:28, 30:37] = 1, 2
    for same in (label, label[:, ::-1, 1:], np.pad(label, 9)):
        assert _swapped_axes(same) == ["left_right"]


def test_what_lies_within_another_is_not_swapped() -> None:
    label = _box()
    label[5:25, 5:35, 5:45] = 1
    label[6:12, 6:20, 6:20] = 2  # all of it lands on the organ, but little of the organ on it
    assert [landing[4] for landing in landings_of(label)[1]] == [1.0, 1.0, 1.0]
    assert _swapped_axes(label) == []


def test_nothing_labelled_and_one_class_swap_nothing() -> None:
    assert landings_of(_box()) == ((), ())
    label = _box()
    label[3:9] = 4
    assert landings_of(label) == ((4,), ())


def test_of_large_label_maps_fewer_voxels_tell_the_same() -> None:
    label = _box((200, 220, 210))
    label[5:90], label[90:190] = 1, 2
    (landing,) = landings_of(label)[1]
    assert landing == pytest.approx((D, 1, 2, 1.0, 0.85), abs=0.02)


def test_the_cases_that_have_both_decide_together() -> None:
    swapped, kept = ((1, 2), ((W, 1, 2, 0.9, 0.8),)), ((1, 2), ())
    other = ((1,), ())
    assert common_swaps([swapped, swapped, kept, other], NAMES) == {"left_right": (("one", "two"),)}
    assert common_swaps([swapped, kept, other], NAMES) == {}


def test_the_hippocampus_has_a_front_and_a_back() -> None:
    """Real label maps, in canonical orientation already but for the order of the axes."""
    import nibabel

    paths = sorted((DATA / "Task04_Hippocampus" / "labelsTr").glob("*.nii.gz"))[:20]
    if not paths:
        pytest.skip(f"no real scans at {DATA}")
    scans = [nibabel.as_closest_canonical(nibabel.load(path)) for path in paths]  # type: ignore[arg-type]
    labels = [np.asarray(scan.dataobj).astype(np.uint8).transpose(2, 1, 0) for scan in scans]
    assert _swapped_axes(*labels) == ["anterior_posterior"]


@pytest.mark.slow
def test_the_plan_leaves_the_axis_out_and_training_heeds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The made-up hippocampus has its second label behind the first."""
    labels = {"0": "background", "1": "anterior", "2": "posterior"}
    raw = make_raw(tmp_path, cases=4, size=(34, 48, 36), affine=np.eye(4), labels=labels)
    cache = tmp_path / "cache"
    options = ["--dataset", "msd", "--cache", str(cache), "--workers", "0"]
    assert main(["preprocess", str(raw), *options]) == 0
    told = capsys.readouterr()
    cached = open_cache(cache / raw.name)
    swapped = cached.fingerprint.mirror_swaps
    assert list(swapped.values()) == [(("anterior", "posterior"),)]
    (axis,) = swapped
    assert f"mirroring along {axis} puts anterior and posterior in each other's place" in told.err
    assert len(cached.plan.mirror_axes) == 2
    assert axis not in cached.plan.mirror_axes
    assert ", ".join(cached.plan.mirror_axes) in told.out
    _check_training(tmp_path, cache, raw.name, axis, capsys)


def _check_training(
    folder: Path, cache: Path, name: str, axis: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [
        *("model.mednext.base_channels=4", "training.epochs=1", "training.iterations_per_epoch=1"),
        *("training.validation_iterations=0", "training.patch_voxels=[32, 16, 16]"),
    ]
    changes = [part for setting in tiny for part in ("--set", setting)]
    train = ["train", name, "--cache", str(cache), "--fold", "all", "--device", "cpu", *changes]
    for wanted, kept in (("plan", set(AXES)), ("plan_left_right", {"left_right"})):
        choice = ["--recipe", "cpu", "--set", f"augmentation.mirror_axes={wanted}"]
        assert main([*train, *choice, "--runs", str(folder / wanted)]) == 0
        assert "puts anterior and posterior" not in capsys.readouterr().err
        recipe = load_recipe(str(folder / wanted / name / "S-k3-w4" / "foldall" / "recipe.toml"))
        assert set(recipe.augmentation.mirror_axes) == kept - {axis}
    assert load_recipe("cpu").augmentation.mirror_axes == "plan_left_right"
    assert main([*train, "--runs", str(folder / "published")]) == 0
    told = capsys.readouterr().err
    assert f"the recipe mirrors along {axis}, which puts anterior and posterior" in told
