from math import inf, isnan, nan

import numpy as np
import pytest

from mednext_cli.evaluation.metrics.empty_masks import EMPTY_POLICIES
from mednext_cli.evaluation.scoring.score_case import CasePair, score_case
from mednext_cli.evaluation.scoring.scores import ScoreSettings
from mednext_cli.settings.labels import LabelSet

LABELS = LabelSet({"organ": 1}, {"organ": (1,)})
OVERLAPS = ("dice", "iou", "sensitivity", "precision")
DISTANCES = ("mean_surface_distance_mm", "hd95_mm", "hd100_mm")
FULL, EMPTY = np.ones((3, 4, 5), np.uint8), np.zeros((3, 4, 5), np.uint8)
SITUATIONS = {
    "both_empty": (EMPTY, EMPTY),
    "reference_empty": (EMPTY, FULL),
    "prediction_empty": (FULL, EMPTY),
}
# Overlaps and distances as facts about the challenges, not as the table spells them.
EXPECTED = {
    ("nnunet", "both_empty"): (nan, nan),
    ("nnunet", "reference_empty"): (0.0, inf),
    ("nnunet", "prediction_empty"): (0.0, inf),
    ("brats21", "both_empty"): (1.0, 0.0),
    ("brats21", "reference_empty"): (0.0, 373.12866),
    ("brats21", "prediction_empty"): (0.0, 373.12866),
    ("brats23", "both_empty"): (1.0, 0.0),
    ("brats23", "reference_empty"): (0.0, 374.0),
    ("brats24", "prediction_empty"): (0.0, 374.0),
    ("kits21", "both_empty"): (1.0, 0.0),
    ("kits21", "prediction_empty"): (0.0, inf),
    ("kits19", "both_empty"): (0.0, nan),
    ("kits19", "prediction_empty"): (0.0, inf),
    ("kits23", "both_empty"): (1.0, 0.0),
    ("kits23", "reference_empty"): (0.0, inf),
    ("amos22", "both_empty"): (nan, nan),
    ("amos22", "reference_empty"): (0.0, inf),
    ("btcv", "both_empty"): (nan, nan),
    ("btcv", "prediction_empty"): (0.0, inf),
    ("msd", "both_empty"): (nan, inf),
    ("msd", "prediction_empty"): (0.0, inf),
    ("totalsegmentator", "both_empty"): (nan, nan),
    ("totalsegmentator", "reference_empty"): (nan, nan),
    ("totalsegmentator", "prediction_empty"): (0.0, inf),
}


def test_every_policy_is_tested():
    assert {policy for policy, _ in EXPECTED} == set(EMPTY_POLICIES)


@pytest.mark.parametrize(("policy", "situation"), EXPECTED)
def test_policy_decides_the_scores(tmp_path, write_labels, policy, situation):
    paths = [
        write_labels(tmp_path / f"{name}.nii.gz", array)
        for name, array in zip("rp", SITUATIONS[situation], strict=True)
    ]
    row = score_case(CasePair("x", *paths), ScoreSettings(LABELS, empty_policy=policy)).regions[0]
    overlap, distance = EXPECTED[policy, situation]
    found = [row.values[name] for name in (*OVERLAPS, "surface_dice")]
    assert found == pytest.approx([overlap] * 5, nan_ok=True)
    assert [row.values[name] for name in DISTANCES] == pytest.approx([distance] * 3, nan_ok=True)
    assert (row.empty, row.status, row.policy) == (situation, "ok", policy)


def test_missing_prediction_is_the_worst_even_of_an_empty_reference(tmp_path, write_labels):
    reference = write_labels(tmp_path / "r.nii.gz", EMPTY)
    row = score_case(CasePair("x", reference, None), ScoreSettings(LABELS)).regions[0]
    assert row.values["dice"] == row.values["surface_dice"] == 0.0
    assert row.values["hd95_mm"] == inf
    assert row.status == "missing_prediction"


def test_volumes_are_known_whatever_is_empty(tmp_path, write_labels):
    paths = [
        write_labels(tmp_path / "r.nii.gz", EMPTY),
        write_labels(tmp_path / "p.nii.gz", FULL),
    ]
    values = score_case(CasePair("x", *paths), ScoreSettings(LABELS)).regions[0].values
    assert values["volume_reference_ml"] == 0.0
    assert values["volume_prediction_ml"] == pytest.approx(60 * 1.5 / 1000)
    assert values["volume_difference_ml"] == pytest.approx(0.09)
    assert isnan(values["volume_difference_percent"])


def test_ignored_voxels_count_in_neither_map(tmp_path, write_labels):
    reference, prediction = EMPTY.copy(), FULL.copy()
    reference[0], reference[1:] = 1, 9
    paths = [
        write_labels(tmp_path / "r.nii.gz", reference),
        write_labels(tmp_path / "p.nii.gz", prediction),
    ]
    settings = ScoreSettings(LabelSet({"organ": 1}, {"organ": (1,)}, ignore=9))
    values = score_case(CasePair("x", *paths), settings).regions[0].values
    assert values["dice"] == values["surface_dice"] == 1.0
    assert values["hd100_mm"] == 0.0
