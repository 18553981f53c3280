"""Every score against the figures of published packages: surface-distance, MedPy, nnU-Net."""

import json
from math import nan

import nibabel
import numpy as np
import pytest

from mednext_cli.evaluation.scoring.score_case import CasePair, score_case
from mednext_cli.evaluation.scoring.scores import ScoreSettings
from mednext_cli.settings.labels import LabelSet
from tests.places import COMMITTED, DATA, shared_reference

MADE_UP = json.loads((COMMITTED / "metrics" / "expected.json").read_text())["cases"]
REAL = [
    *(f"hippocampus_00{number}" for number in (1, 3, 4, 6)),
    *(f"case_000{number}" for number in (15, 24, 38)),
    "brats_2013_pat0005_1",
]
CASES = [*MADE_UP, *(REAL if shared_reference() else [])]


@pytest.fixture
def pair(request, tmp_path):
    """Both label maps of a case as files."""
    case = request.param
    if case in REAL:
        prediction = shared_reference() / "metrics" / f"{case}_prediction.nii.gz"
        return CasePair(case, real_reference(case), prediction)
    with np.load(COMMITTED / "metrics" / "label_maps.npz") as file:
        for name in ("reference", "prediction"):
            affine = np.diag([*MADE_UP[case]["spacing_mm"], 1.0])
            image = nibabel.Nifti1Image(file[f"{case}/{name}"], affine)
            nibabel.save(image, tmp_path / f"{name}.nii.gz")
    return CasePair(case, tmp_path / "reference.nii.gz", tmp_path / "prediction.nii.gz")


def real_reference(case):
    if case.startswith("hippocampus"):
        return DATA / "Task04_Hippocampus" / "labelsTr" / f"{case}.nii.gz"
    if case.startswith("case"):
        return DATA / "kits19_labels" / case / "segmentation.nii.gz"
    return DATA / "brats2015_deepmedic" / case / "OTMultiClass.nii.gz"


def published(case):
    """What the packages say of a case, and its regions."""
    if case in MADE_UP:
        found = MADE_UP[case]
    else:
        found = json.loads((shared_reference() / "metrics" / "expected.json").read_text())
        found = found["cases"][case]
    regions = {name: tuple(values) for name, values in found["regions"].items()}
    names = {f"label_{value}": value for values in regions.values() for value in values}
    return found["values"], LabelSet(names, regions)


@pytest.mark.slow
@pytest.mark.parametrize("pair", CASES, indirect=True)
def test_scores_are_those_of_the_packages(pair):
    expected, labels = published(pair.case)
    every = (1.0, 3.0) if pair.case in REAL[4:] else (0.5, 1.0, 2.0, 3.0)
    for tolerance_mm in every:
        scores = score_case(pair, ScoreSettings(labels, tolerance_mm))
        assert [row.region for row in scores.regions] == list(labels.regions)
        for row in scores.regions:
            check(row.values, expected[row.region], tolerance_mm)


@pytest.mark.parametrize("pair", MADE_UP, indirect=True)
def test_hd95_of_voxels_is_that_of_medpy(pair):
    expected, labels = published(pair.case)
    for row in score_case(pair, ScoreSettings(labels, hd95="medpy")).regions:
        if "hd95_medpy_mm" in expected[row.region]:
            theirs = expected[row.region]["hd95_medpy_mm"]
            assert row.values["hd95_mm"] == pytest.approx(theirs, abs=1e-4)


def test_made_up_cases_hold_what_is_rare():
    """Empty masks on either side and on both, which nnU-Net scores and the others leave open."""
    keys = ("volume_reference_mm3", "volume_prediction_mm3")
    regions = [values for case in MADE_UP.values() for values in case["values"].values()]
    filled = {tuple(values[key] > 0 for key in keys) for values in regions}
    assert filled == {(True, True), (True, False), (False, True), (False, False)}


def check(values, expected, tolerance_mm):
    for name in ("dice", "iou", "sensitivity", "precision"):
        if name in expected:
            theirs = nan if expected[name] is None else expected[name]
            assert values[name] == pytest.approx(theirs, abs=1e-9, rel=0, nan_ok=True)
    for name in ("reference", "prediction"):
        in_mm3 = 1000 * values[f"volume_{name}_ml"]
        assert in_mm3 == pytest.approx(expected[f"volume_{name}_mm3"], rel=1e-9)
    if "hd95_mm" in expected:
        check_surfaces(values, expected, tolerance_mm)


def check_surfaces(values, expected, tolerance_mm):
    directed = [
        expected["surface_distance_gt_to_pred_mm"],
        expected["surface_distance_pred_to_gt_mm"],
    ]
    surface = {
        "mean_surface_distance_mm": sum(directed) / 2,
        "hd95_mm": expected["hd95_mm"],
        "hd100_mm": expected["hd100_mm"],
        "surface_dice": expected[f"nsd_{tolerance_mm}mm"],
    }
    for name, value in surface.items():
        assert values[name] == pytest.approx(value, abs=1e-3, rel=0)
