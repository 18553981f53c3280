"""Every score against the published figures of surface-distance and plain voxel counting."""

import json

import pytest

from mednext_cli.datasets.dataset import LabelSet
from mednext_cli.evaluation.score_case import CasePair, score_case
from mednext_cli.evaluation.scores import ScoreSettings

CASES = [
    *(f"hippocampus_00{number}" for number in (1, 3, 4, 6)),
    *(f"case_000{number}" for number in (15, 24, 38)),
    "brats_2013_pat0005_1",
]


def reference_path(data_folder, case):
    if case.startswith("hippocampus"):
        return data_folder / "Task04_Hippocampus" / "labelsTr" / f"{case}.nii.gz"
    if case.startswith("case"):
        return data_folder / "kits19_labels" / case / "segmentation.nii.gz"
    return data_folder / "brats2015_deepmedic" / case / "OTMultiClass.nii.gz"


@pytest.mark.parametrize("case", CASES)
def test_scores_match_the_reference(data_folder, reference_folder, case):
    metrics = reference_folder / "metrics"
    expected = json.loads((metrics / "expected.json").read_text())["cases"][case]
    regions = {name: tuple(values) for name, values in expected["regions"].items()}
    names = {f"label_{value}": value for values in regions.values() for value in values}
    pair = CasePair(case, reference_path(data_folder, case), metrics / f"{case}_prediction.nii.gz")
    for tolerance_mm in (0.5, 1.0, 2.0, 3.0) if case.startswith("hippo") else (1.0, 3.0):
        scores = score_case(pair, ScoreSettings(LabelSet(names, regions), tolerance_mm))
        assert [row.region for row in scores.regions] == list(regions)
        for row in scores.regions:
            check(row.values, expected["values"][row.region], tolerance_mm)


def check(values, expected, tolerance_mm):
    for name in ("dice", "iou", "sensitivity", "precision"):
        assert values[name] == pytest.approx(expected[name], abs=1e-9, rel=0)
    for name in ("reference", "prediction"):
        in_mm3 = 1000 * values[f"volume_{name}_ml"]
        assert in_mm3 == pytest.approx(expected[f"volume_{name}_mm3"], rel=1e-9)
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
