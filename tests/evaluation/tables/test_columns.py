import csv
from dataclasses import fields

import pytest

from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.evaluation.ranking.columns import CONSENSUS, LEADERBOARD, PAIRWISE
from mednext_cli.evaluation.ranking.rows import ConsensusRow, LeaderboardRow, PairwiseRow
from mednext_cli.evaluation.tables.columns import CASES, find_metric
from mednext_cli.foundation.errors import SettingsError

LEADING = (
    "case,region,dice,iou,sensitivity,precision,volume_reference_ml,volume_prediction_ml,"
    "surface_dice,mean_surface_distance_mm,hd95_mm,hd100_mm"
)


def test_cases_csv_has_the_columns_of_the_table(folders):
    predictions, labels = folders
    evaluate(EvaluateSpec(predictions, labels, workers=0, report=False))
    with (predictions / "cases.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    assert ",".join(header).startswith(LEADING)
    assert header == list(CASES.names)


def test_rows_of_the_leaderboard_have_the_columns_of_the_table():
    tables = {
        LeaderboardRow: LEADERBOARD,
        PairwiseRow: PAIRWISE,
        ConsensusRow: CONSENSUS,
    }
    for row, table in tables.items():
        assert [field.name for field in fields(row)] == list(table.names)


def test_metrics_are_found_with_and_without_unit():
    assert find_metric("hd95") is find_metric("hd95_mm")
    with pytest.raises(SettingsError, match="Did you mean surface_dice"):
        find_metric("surface_dise")
    with pytest.raises(SettingsError, match="unknown metric 'volume_reference_ml'"):
        find_metric("volume_reference_ml")
