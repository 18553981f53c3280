"""A plan written, edited, and passed back."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mednext_cli.cache.reader import open_cache
from mednext_cli.preprocessing.fingerprint import summarise
from mednext_cli.preprocessing.plan_file import read_plan, read_plan_labels
from mednext_cli.settings.plan import Plan
from tests.fuzzing import damaged_bytes, damaged_json, limits, only_ours, seeds
from tests.inference.synthetic import PLAN
from tests.preprocessing.synthetic import cache_of, make_raw, run
from tests.preprocessing.test_fingerprint import surveyed

Capture = pytest.CaptureFixture[str]


def edited(path: Path, **changes: Any) -> Path:
    """Entries of the plan replaced; of its labels, those that are named."""
    content = json.loads(path.read_text())
    labels = {**content["label_set"], **changes.pop("label_set", {})}
    path.write_text(json.dumps({**content, "label_set": labels, **changes}))
    return path


def test_an_edited_plan_is_followed_and_only_what_depends_on_it_is_redone(
    tmp_path: Path, capsys: Capture
) -> None:
    raw, path = make_raw(tmp_path), tmp_path / "plan.json"
    assert run(raw, "--dry-run", "--write-plan", str(path)) == 0
    assert not cache_of(raw).exists()
    edited(path, spacing_mm=[3, 1.8, 1.6], patch_voxels=[16, 32, 16])
    assert run(raw, "--plan", str(path)) == 0
    cached = open_cache(cache_of(raw))
    assert cached.plan.patch_voxels == (16, 32, 16)
    assert cached.case("case_0").image_shape == (1, 8, 12, 11)
    edited(path, patch_voxels=[32, 32, 16])
    capsys.readouterr()
    assert run(raw, "--plan", str(path)) == 0
    assert "cases made\t0\ncases kept\t3\n" in capsys.readouterr().out
    assert open_cache(cache_of(raw)).plan.patch_voxels == (32, 32, 16)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"patch_voxels": [20, 32, 32]}, "divisible by 8"),
        ({"patch_voxels": [16, 16, 16]}, "the smallest is 16 x 16 x 32"),
        ({"slice_axis": 2}, "choose it when they are trained"),
        ({"spacing_mm": [0, 1, 1]}, "spacing_mm.0"),
        ({"spacing": 1}, "spacing"),
        ({"label_set": {"names": {"left": 1}}}, "label_set.names is {'left': 1}, the dataset has"),
        ({"normalisation": []}, "normalisation has 0 entries"),
        ({"normalisation": [{"scheme": "ct", "std": 0}]}, "lower < upper"),
        ({"label_set": {"regions": {"both": [1, 9]}}}, "regions.both"),
        ({"version": 3}, "version"),
        ({"normalisation": [{"scheme": "ct", "upper": 1, "mean": math.nan}]}, "not a number"),
        ({"normalisation": [{"scheme": "ct", "upper": 1, "std": math.inf}]}, "not a number"),
        ({"spacing_mm": [math.inf, 1, 1]}, "are not 0.01 to 100"),
        ({"spacing_mm": [0.002, 1, 1]}, "are not 0.01 to 100"),
        ({"label_set": {"regions": {}}}, "regions are none"),
        (
            {"label_set": {"region_training": True, "region_values": [9, 9]}},
            "region_values (9, 9)",
        ),
    ],
)
def test_a_plan_that_cannot_be(
    tmp_path: Path, capsys: Capture, changes: dict[str, Any], says: str
) -> None:
    raw, path = make_raw(tmp_path, 1), tmp_path / "plan.json"
    assert run(raw, "--dry-run", "--write-plan", str(path)) == 0
    capsys.readouterr()
    assert run(raw, "--plan", str(edited(path, **changes))) == 2
    err = capsys.readouterr().err
    assert f"--plan {path}" in err
    assert says in err


def test_no_plan_at_all(tmp_path: Path, capsys: Capture) -> None:
    raw, path = make_raw(tmp_path, 1), tmp_path / "plan.json"
    assert run(raw, "--plan", str(path)) == 2
    path.write_text("{")
    assert run(raw, "--plan", str(path)) == 2
    assert run(raw, "--plan", str(path), "--spacing", "1") == 2
    assert "Give one of them" in capsys.readouterr().err


def test_the_fingerprint_does_not_depend_on_the_order_of_cases(tmp_path: Path) -> None:
    dataset, cases, fingerprint = surveyed(make_raw(tmp_path, 4, modality="CT"))
    expected = fingerprint.intensities[0]

    @settings(max_examples=20, deadline=None)
    @given(order=st.permutations(range(4)))
    def check(order: list[int]) -> None:
        found = summarise([cases[index] for index in order], dataset.labels)
        assert found.median_spacing_mm == fingerprint.median_spacing_mm
        assert found.median_shape == fingerprint.median_shape
        assert found.intensities[0] == pytest.approx(expected, rel=1e-9)

    check()


def test_whatever_a_plan_file_says(tmp_path: Path) -> None:
    whole, path = PLAN.model_dump(mode="json"), tmp_path / "plan.json"
    text = json.dumps(whole).encode()
    for seed in seeds(200):
        path.write_text(json.dumps(damaged_json(whole, seed)))
        with limits(), only_ours(seed):
            read_plan(path, PLAN)
        path.write_bytes(damaged_bytes(text, seed))
        with limits(), only_ours(seed):
            read_plan_labels(path)


@pytest.mark.parametrize(
    "dataset", ["../up", "/etc", "..", "a\\b", "\x1b[31m", "x" * 300, "", "a\nb", "\u202egnp"]
)
def test_the_name_of_a_dataset_stays_a_name(dataset: str) -> None:
    with pytest.raises(ValidationError, match="dataset"):
        Plan.model_validate({**PLAN.model_dump(mode="json"), "dataset": dataset})
    with pytest.raises(ValidationError, match="channels"):
        Plan.model_validate({**PLAN.model_dump(mode="json"), "channels": ["\x1b[31mCT"]})
