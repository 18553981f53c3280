import json
import re
from pathlib import Path

import numpy as np
import pytest

from mednext_cli.datasets.dataset import Dataset
from mednext_cli.datasets.registry import read_dataset
from mednext_cli.foundation.errors import DatasetError, SettingsError
from mednext_cli.preprocessing.fingerprint import (
    FINGERPRINTS,
    CaseFingerprint,
    fingerprint_case,
    summarise,
)
from mednext_cli.preprocessing.foreground import sample_foreground
from mednext_cli.preprocessing.intensities import merge_intensities, sample_intensities
from mednext_cli.preprocessing.plan import plan_dataset, plan_patch
from mednext_cli.settings.fingerprint import Fingerprint
from mednext_cli.settings.plan import Plan
from mednext_cli.settings.spacing import parse_spacing
from tests.preprocessing.synthetic import cache_of, image_of, label_of, make_raw, read, run, write


def surveyed(raw: Path) -> tuple[Dataset, list[CaseFingerprint], Fingerprint]:
    dataset = read_dataset(raw, "msd")
    cases = [fingerprint_case(case, dataset.labels) for case in dataset.labelled]
    return dataset, cases, summarise(cases, dataset.labels)


def test_statistics_are_those_of_every_tenth_foreground_voxel(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, modality="CT")
    dataset, cases, fingerprint = surveyed(raw)
    pooled = []
    for number in range(3):
        image, label = (read(of(raw, f"case_{number}")) for of in (image_of, label_of))
        # Canonical order: head-foot first.
        pooled.append(image.transpose(2, 1, 0)[label.transpose(2, 1, 0) > 0][::10])
    values = np.concatenate(pooled)
    expected = np.percentile(values, [0.5, 50, 99.5])
    found = fingerprint.intensities[0]
    names = ("percentile_00_5", "median", "percentile_99_5")
    assert [found[name] for name in names] == pytest.approx(expected)
    assert [found["mean"], found["std"]] == pytest.approx([values.mean(), values.std()])
    plan = plan_dataset(dataset, cases, fingerprint, (1.0, 1.0, 1.0))
    settings = plan.normalisation[0]
    assert settings.scheme == "ct"
    assert (settings.lower, settings.upper) == pytest.approx((expected[0], expected[2]))


def test_many_values_are_thinned_without_moving_the_percentiles() -> None:
    random = np.random.default_rng(0)
    sizes = {0: 500_000, 50: 300_000, 80: 100_000}  # every voxel counts the same
    cases = [random.normal(mean, 30, size).astype(np.float32) for mean, size in sizes.items()]
    samples = [sample_intensities(case) for case in cases]
    assert all(len(sample.values) <= 2048 for sample in samples if sample)
    found = merge_intensities([*samples, None])
    exact = np.concatenate([case[::10] for case in cases])
    assert found["mean"] == pytest.approx(exact.mean(), abs=1e-3)
    assert found["std"] == pytest.approx(exact.std(), rel=1e-5)
    for name, percent in (("percentile_00_5", 0.5), ("median", 50), ("percentile_99_5", 99.5)):
        assert found[name] == pytest.approx(np.percentile(exact, percent), abs=0.5)
    assert found["minimum"] == pytest.approx(exact.min())


def test_margins_of_zeros_are_cropped_on_both_sides(tmp_path: Path) -> None:
    raw = make_raw(tmp_path, cases=1)
    image = np.zeros((22, 24, 12), np.int16)
    image[4:20, 3:13, 2:11] = np.random.default_rng(0).integers(1, 99, (16, 10, 9))
    write(image_of(raw, "case_0"), image)
    _, cases, _ = surveyed(raw)
    assert cases[0].shape == (12, 24, 22)  # head-foot first
    assert cases[0].cropped_shape == (9, 10, 16)


def test_a_fingerprint_survives_json(tmp_path: Path) -> None:
    dataset, cases, fingerprint = surveyed(make_raw(tmp_path))
    again = [FINGERPRINTS.validate_json(FINGERPRINTS.dump_json(case)) for case in cases]
    assert summarise(again, dataset.labels) == fingerprint


@pytest.mark.parametrize(
    ("median", "patch"),
    [
        ((35.0, 50.0, 36.0), (32, 48, 32)),
        ((300.0, 400.0, 400.0), (128, 128, 128)),
        ((1.0, 300.0, 100.0), (16, 128, 96)),
        ((10.0, 12.0, 9.0), (16, 32, 16)),
    ],
)
def test_patches_follow_the_scans(
    median: tuple[float, float, float], patch: tuple[int, int, int]
) -> None:
    assert plan_patch(median) == patch


def test_median_spacing(tmp_path: Path) -> None:
    dataset, cases, fingerprint = surveyed(make_raw(tmp_path))
    plan = plan_dataset(dataset, cases, fingerprint, None)
    assert plan.spacing_mm == pytest.approx((2.0, 0.9, 0.8))
    assert Plan.model_validate(plan.model_dump(mode="json")) == plan


def test_ct_without_any_foreground_cannot_be_normalised(tmp_path: Path) -> None:
    dataset, cases, _ = surveyed(make_raw(tmp_path, modality="CT"))
    empty = [
        CaseFingerprint(one.shape, one.cropped_shape, one.spacing_mm, 0, (None,)) for one in cases
    ]
    with pytest.raises(DatasetError, match="foreground"):
        plan_dataset(dataset, empty, summarise(empty, dataset.labels), None)


def test_foreground_voxels_are_sampled_for_each_class() -> None:
    label = np.zeros((120, 110, 100), np.uint8)
    label[:, :, :] = 1
    label[5:8, 5:8, 5:8] = 2
    label[50:60] = 3
    found = sample_foreground(label, ignore_index=3)
    assert set(found) == {1, 2}
    assert len(found[2]) == 27
    assert len(found[1]) == max(10_000, -(-np.sum(label == 1) // 100))
    for index, voxels in found.items():
        assert (label[tuple(voxels.T)] == index).all()
        assert len(np.unique(voxels, axis=0)) == len(voxels)
    assert np.array_equal(found[1], sample_foreground(label, 3)[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.0", (1.0, 1.0, 1.0)), ("3,0.8,0.9", (3.0, 0.8, 0.9)), ("median", None)],
)
def test_spacings_as_users_write_them(text: str, expected: tuple[float, ...] | None) -> None:
    assert parse_spacing(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "1,2", "a", "1,2,nan", "inf"])
def test_spacings_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError, match="--spacing"):
        parse_spacing(text)


def test_a_label_that_is_no_longer_ignored_counts(tmp_path: Path) -> None:
    raw, cache = tmp_path / "Dataset001_Blobs", tmp_path / "cache" / "Dataset001_Blobs"
    make_raw(tmp_path, 1).rename(raw)
    image = raw / "imagesTr" / "case_0.nii.gz"
    image.rename(image.with_name("case_0_0000.nii.gz"))
    table = {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    label = read(raw / "labelsTr" / "case_0.nii.gz")
    for last in ("ignore", "right"):
        labels = {"background": 0, "left": 1, last: 2}
        (raw / "dataset.json").write_text(json.dumps({**table, "labels": labels}))
        assert run(raw, layout="nnunet") == 0
        expected = np.count_nonzero(label == 1 if last == "ignore" else label)
        description = json.loads((cache / "dataset.json").read_text())
        assert description["cases"]["case_0"]["foreground_voxels"] == expected


@pytest.mark.parametrize("damage", ['"spacing_mm": [1]', '"spacing_mm": null'])
def test_a_damaged_record_is_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    raw = make_raw(tmp_path, 1)
    assert run(raw) == 0
    (record,) = (cache_of(raw) / "fingerprints").iterdir()
    record.write_text(re.sub(r'"spacing_mm": \[[^]]*\]', damage, record.read_text()))
    capsys.readouterr()
    assert run(raw) == 0
    assert "cases kept\t1\n" in capsys.readouterr().out
    assert '"spacing_mm": [2.0' in record.read_text()
