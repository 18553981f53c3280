"""summary.json as nnU-Net 2.8.1 writes it (`nnunetv2/evaluation/evaluate_predictions.py`)."""

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from mednext_cli.evaluation.metrics.overlap import RegionCounts
from mednext_cli.evaluation.scoring.score_case import CasePair, CaseScores
from mednext_cli.evaluation.scoring.score_cases import found_labels
from mednext_cli.foundation.files import write_text
from mednext_cli.settings.labels import LabelSet

Metrics = dict[str, float | int]
_NOTHING = RegionCounts(0, 0, 0)


def summary_labels(
    label_set: LabelSet | None, scored: Sequence[CaseScores], kept: Set[int] | None = None
) -> list[tuple[str, tuple[int, ...]]]:
    """Keys and label values as nnU-Net forms them: labels as 1, trained regions as (1, 2), or as 3
    where the dataset.json writes a region of one label so.
    """
    if label_set is not None and label_set.region_training:
        keys = label_set.summary_keys
        regions = label_set.regions.items()
        return [(keys.get(name, str(tuple(values))), values) for name, values in regions]
    found = set(label_set.names.values()) if label_set is not None else found_labels(scored)
    if kept is not None:
        found &= kept
    return [(str(value), (value,)) for value in sorted(found) if value]


def write_nnunet_summary(
    path: Path,
    pairs: Sequence[CasePair],
    scored: Sequence[CaseScores],
    label_set: LabelSet | None,
    kept: Set[int] | None = None,
) -> None:
    """Write summary.json over the cases that have a prediction; of `kept` label values alone.

    Dice and IoU are NaN where neither map holds a label, means leave those cases out, and the
    foreground mean is NaN when a label's mean is.
    """
    labels = summary_labels(label_set, scored, kept)
    by_case = {case.case: case for case in scored}
    cases = []
    for pair in sorted(pairs, key=lambda pair: pair.prediction.name if pair.prediction else ""):
        if pair.prediction is None or pair.case not in by_case:
            continue
        case = by_case[pair.case]
        cases.append(
            {
                "metrics": {key: _metrics(case, values) for key, values in labels},
                "prediction_file": str(pair.prediction),
                "reference_file": str(pair.reference),
            }
        )
    means = {key: _mean([_of(case, key) for case in cases], leave_nan=True) for key, _ in labels}
    result = {
        "foreground_mean": _mean(list(means.values()), leave_nan=False),
        "mean": means,
        "metric_per_case": cases,
    }
    write_text(path, json.dumps(result, sort_keys=True, indent=4))


def _of(case: Mapping[str, object], key: str) -> Metrics:
    metrics = case["metrics"]
    assert isinstance(metrics, dict)  # noqa: S101 - built above
    found: Metrics = metrics[key]
    return found


def _metrics(case: CaseScores, values: tuple[int, ...]) -> Metrics:
    counts = case.counts.count(values) if case.counts else _NOTHING
    both, predicted, there = counts.true_positives, counts.prediction, counts.reference
    union = predicted + there - both
    return {
        "Dice": 2 * both / (predicted + there) if union else float("nan"),
        "IoU": both / union if union else float("nan"),
        "FP": predicted - both,
        "TP": both,
        "FN": there - both,
        "TN": case.voxels - union,
        "n_pred": predicted,
        "n_ref": there,
    }


def _mean(rows: Sequence[Metrics], *, leave_nan: bool) -> dict[str, float]:
    if not rows:
        return {}
    means = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows], float)
        kept = values[~np.isnan(values)] if leave_nan else values
        means[name] = float(kept.mean()) if len(kept) else float("nan")
    return means
