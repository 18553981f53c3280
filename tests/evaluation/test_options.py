"""The options of `mednext evaluate` that change what is compared, through the command line."""

import csv
import json
from math import isnan, nan

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.evaluation.evaluate import EvaluateSpec, evaluate
from mednext_cli.evaluation.scoring.label_mapping import map_by_name, restrict
from mednext_cli.evaluation.tables.nnunet_summary import summary_labels
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.settings.labels import LabelSet, region_name
from tests.evaluation.conftest import AFFINE, boxes


def rows_of(folder, name="cases.csv"):
    with (folder / name).open(newline="") as stream:
        return list(csv.DictReader(stream))


def run(predictions, labels, *options):
    return main(["evaluate", str(predictions), str(labels), "--workers", "0", *map(str, options)])


@pytest.fixture
def kidneys(tmp_path, write_labels):
    """KiTS19's layout, label 1 kidney and 2 tumour, two cases; the second without a tumour."""
    for index in range(2):
        array = boxes()
        if index:
            array[array == 2] = 0
        raw = tmp_path / "raw" / f"case_0000{index}"
        write_labels(raw / "segmentation.nii.gz", array)
        write_labels(raw / "imaging.nii.gz", array)
        shifted = boxes(shift=1)
        if index:
            shifted[shifted == 2] = 0
        write_labels(tmp_path / "predictions" / f"case_0000{index}.nii.gz", shifted)
    return tmp_path / "predictions", tmp_path / "raw"


def test_kits19_by_its_own_rules(kidneys):
    assert run(*kidneys, "--dataset", "kits19") == 0
    rows = rows_of(kidneys[0])
    assert {row["policy"] for row in rows} == {"kits19"}
    dice = {(row["case"], row["region"]): float(row["dice"]) for row in rows}
    assert dice["case_00001", "tumour"] == 0.0  # both empty: the challenge's 0
    # The composite: mean over cases of the mean of kidney with tumour, and tumour.
    composite = np.mean([(dice[case, "kidney_and_tumour"] + dice[case, "tumour"]) / 2
                         for case in ("case_00000", "case_00001")])  # fmt: skip
    overall = next(row for row in rows_of(kidneys[0], "summary.csv")
                   if (row["region"], row["metric"]) == ("overall", "dice"))  # fmt: skip
    assert float(overall["mean"]) == pytest.approx(composite)


def test_protocol_of_the_paper(kidneys):
    assert run(*kidneys, "--dataset", "kits19", "--protocol", "mednext") == 0
    rows = rows_of(kidneys[0])
    assert [row["region"] for row in rows] == ["kidney", "tumour"] * 2
    assert {(row["protocol"], row["policy"]) for row in rows} == {("mednext", "nnunet")}
    # The shift is one voxel, and 2 mm.
    assert [float(row["surface_dice"]) for row in rows[:2]] == [1.0, 1.0]
    assert isnan(float(rows[3]["dice"]))


@pytest.mark.parametrize("policy", [(), ("--empty-policy", "kits23")])
def test_both_mean_rows_of_the_papers_script(tmp_path, write_labels, policy):
    """`mean` leaves a region out that both maps lack, `mean (nan is 1)` counts it as 1."""
    whole, without = boxes(), boxes()
    without[without == 2] = 0
    half = without.copy()
    half[1:4, 9:12, 3:5] = 2  # 18 voxels of the reference's 36
    for name, reference, prediction in (("a", whole, half), ("b", without, without)):
        write_labels(tmp_path / "raw" / f"{name}.nii.gz", reference)
        write_labels(tmp_path / "made" / f"{name}.nii.gz", prediction)
    assert run(tmp_path / "made", tmp_path / "raw", "--protocol", "mednext", *policy) == 0
    means = {(row["region"], row["metric"]): float(row["mean"])
             for row in rows_of(tmp_path / "made", "summary.csv")}  # fmt: skip
    alone = 2 * 18 / (18 + 36)
    expected = (alone + 1) / 2 if policy else alone
    assert means["label_1", "dice"] == 1.0
    assert means["label_2", "dice"] == pytest.approx(expected)
    assert means["overall", "dice"] == pytest.approx((1 + expected) / 2)


def test_lesion_columns_come_last_and_only_when_asked_for(folders):
    assert run(*folders) == 0
    plain = list(rows_of(folders[0])[0])
    assert run(*folders, "--lesions", "any", "--hd95", "medpy") == 0
    rows = rows_of(folders[0])
    assert list(rows[0])[: len(plain)] == plain
    assert list(rows[0])[len(plain) :] == [
        "lesions_reference", "lesions_prediction", "lesion_recall", "lesion_precision",
        "lesion_f1", "lesion_dice",
    ]  # fmt: skip
    assert {row["lesion_f1"] for row in rows} == {"1.0"}
    assert {row["hd95_definition"] for row in rows} == {"medpy"}
    assert "lesion_dice" in {row["metric"] for row in rows_of(folders[0], "summary.csv")}


def test_other_grid_is_resampled_and_marked(folders, write_labels):
    predictions, labels = folders
    coarse = AFFINE.copy()
    coarse[:3, 2] *= 2
    coarse[:3, 3] += AFFINE[:3, 2] / 2
    # Each voxel covers two of the reference's along the last axis, whose boxes span 3 to 6.
    fine = boxes(4)
    fine[:, :, 2:8] = fine[:, :, 3:4]
    write_labels(labels / "case_0.nii.gz", fine)
    write_labels(predictions / "case_0.nii.gz", fine[:, :, ::2], coarse)
    assert run(predictions, labels) == 2
    assert run(predictions, labels, "--resample") == 0
    rows = rows_of(predictions)
    assert [row["resampled"] for row in rows] == ["1", "1", "0", "0", "0", "0"]
    assert [float(row["dice"]) for row in rows[:2]] == [1.0, 1.0]


def test_flipped_prediction_is_resampled_exactly(folders, write_labels):
    predictions, labels = folders
    flipped = AFFINE.copy()
    flipped[:3, 0] *= -1
    flipped[:3, 3] += 11 * AFFINE[:3, 0]
    write_labels(predictions / "case_0.nii.gz", boxes(4)[::-1], flipped)
    assert run(predictions, labels, "--resample") == 0
    assert [float(row["dice"]) for row in rows_of(predictions)[:2]] == [1.0, 1.0]


def test_map_from_a_file(folders, tmp_path, write_labels):
    predictions, labels = folders
    for path in predictions.iterdir():
        array = np.asarray(nib.load(path).dataobj)
        write_labels(path, np.array([0, 300, 7], np.uint16)[array])
    table = tmp_path / "map.toml"
    table.write_text('[labels]\n"300" = 1\n"7" = 0\n')
    assert run(predictions, labels, "--map", table) == 0
    rows = rows_of(predictions)
    assert {row["region"] for row in rows} == {"label_1"}
    assert float(rows[0]["dice"]) == pytest.approx(3 / 4)


BTCV = LabelSet({"right_kidney": 2, "gall_bladder": 4, "veins": 10, "inferior_vena_cava": 9}, {})
AMOS = LabelSet(
    {"kidney_right": 1, "gallbladder": 2, "postcava": 3, "duodenum": 13},
    {"kidney_right": (1,), "duodenum": (13,), "both": (1, 13)},
)


def test_names_of_two_datasets_meet():
    mapping = map_by_name(BTCV, AMOS)
    assert mapping == {2: 1, 4: 2, 9: 3, 10: 0}
    assert set(restrict(AMOS, mapping).regions) == {"kidney_right"}
    with pytest.raises(SettingsError, match="no region"):
        restrict(AMOS, {4: 2})


def test_organs_of_btcv_and_amos22():
    btcv = (
        "spleen, right kidney, left kidney, gallbladder, esophagus, liver, stomach, aorta, "
        "inferior vena cava, portal vein and splenic vein, pancreas, right adrenal gland, "
        "left adrenal gland"
    )
    amos22 = (
        "spleen, right kidney, left kidney, gall bladder, esophagus, liver, stomach, arota, "
        "postcava, pancreas, right adrenal gland, left adrenal gland, duodenum, bladder, "
        "prostate/uterus"
    )
    first, second = (
        LabelSet({region_name(name): value for value, name in enumerate(text.split(", "), 1)}, {})
        for text in (btcv, amos22)
    )
    same = {value: value for value in range(1, 10)}
    assert map_by_name(first, second) == same | {10: 0, 11: 10, 12: 11, 13: 12}
    assert map_by_name(second, first) == same | {10: 11, 11: 12, 12: 13, 13: 0, 14: 0, 15: 0}


def test_map_between_layouts(kidneys):
    assert run(*kidneys, "--dataset", "kits19", "--map", "kits19:kits19") == 0
    assert {row["region"] for row in rows_of(kidneys[0])} == {"kidney_and_tumour", "tumour"}


def nnunet_metrics(reference, prediction, label):
    """`compute_metrics` of nnU-Net 2.8.1, said again."""
    first, second = reference == label, prediction == label
    both, union = int((first & second).sum()), int((first | second).sum())
    return {
        "Dice": 2 * both / int(first.sum() + second.sum()) if union else nan,
        "IoU": both / union if union else nan,
        "FP": int((second & ~first).sum()), "TP": both, "FN": int((first & ~second).sum()),
        "TN": int((~(first | second)).sum()), "n_pred": int(second.sum()),
        "n_ref": int(first.sum()),
    }  # fmt: skip


def test_summary_json_is_nnunets(folders, write_labels):
    predictions, labels = folders
    for folder in folders:  # a label that no map of one case holds: undefined, left out of means
        array = np.asarray(nib.load(folder / "case_1.nii.gz").dataobj).copy()
        array[array == 2] = 0
        write_labels(folder / "case_1.nii.gz", array)
    assert run(predictions, labels, "--summary-json") == 0
    text = (predictions / "summary.json").read_text()
    found = json.loads(text)
    assert list(found) == ["foreground_mean", "mean", "metric_per_case"]
    assert text == json.dumps(found, sort_keys=True, indent=4)
    by_label = {"1": [], "2": []}
    for index, case in enumerate(found["metric_per_case"]):
        paths = [folder / f"case_{index}.nii.gz" for folder in (labels, predictions)]
        assert [case["reference_file"], case["prediction_file"]] == list(map(str, paths))
        maps = [np.asarray(nib.load(path).dataobj) for path in paths]
        for label, metrics in by_label.items():
            metrics.append(nnunet_metrics(*maps, int(label)))
            assert case["metrics"][label] == pytest.approx(metrics[-1], nan_ok=True)
            assert type(case["metrics"][label]["TP"]) is int
    for name in ("Dice", "TN"):
        means = [np.nanmean([one[name] for one in by_label[label]]) for label in ("1", "2")]
        assert [found["mean"][label][name] for label in ("1", "2")] == pytest.approx(means)
        assert found["foreground_mean"][name] == pytest.approx(np.mean(means))


def test_summary_json_leaves_ignored_voxels_out(folders):
    predictions, labels = folders
    label_set = LabelSet({"one": 1}, {"one": (1,)}, ignore=2)
    for path in predictions.iterdir():
        array = np.asarray(nib.load(path).dataobj).copy()
        array[array == 2] = 0
        nib.save(nib.Nifti1Image(array, AFFINE), path)
    evaluate(EvaluateSpec(predictions, labels, label_set=label_set, workers=0, report=False,
                          summary_json=True))  # fmt: skip
    metrics = json.loads((predictions / "summary.json").read_text())["metric_per_case"][0]
    counts = metrics["metrics"]["1"]
    ignored = int((boxes(4) == 2).sum())
    assert sum(counts[name] for name in ("TP", "FP", "FN", "TN")) == 12 * 14 * 10 - ignored


def test_summary_json_has_the_cases_with_a_prediction(folders):
    (folders[0] / "case_1.nii.gz").unlink()
    assert run(*folders, "--summary-json") == 0
    found = json.loads((folders[0] / "summary.json").read_text())
    files = [case["prediction_file"] for case in found["metric_per_case"]]
    assert files == [str(folders[0] / f"case_{index}.nii.gz") for index in (0, 2)]


def test_keys_of_trained_regions():
    label_set = LabelSet({"a": 1, "b": 2}, {"ab": (1, 2), "b": (2,)}, region_training=True)
    assert [key for key, _ in summary_labels(label_set, [])] == ["(1, 2)", "(2,)"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--hd95", "medpi"], "'--hd95': 'medpi' is not one of 'surface_distance', 'medpy'"),
        (["--lesions", "dice"], "'--lesions': 'dice' is not one of 'iou', 'any'"),
        (["--protocol", "paper"], "'--protocol': 'paper' is not"),
        (["--protocol", "mednext", "--tolerance", "2"], "one voxel"),
        (["--empty-policy", "kits"], "'--empty-policy': 'kits' is not one of 'nnunet'"),
        (["--map", "kits19"], "PREDICTIONS:REFERENCES"),
        (["--map", "kits19:msd"], "has no labels of its own"),
        (["--map", "kits19:nowhere"], "nowhere"),
        (["--map", "absent.toml"], "does not exist"),
    ],
)
def test_wrong_options_are_one_line(folders, capsys, options, reason):
    assert run(*folders, *options) == 2
    error = capsys.readouterr().err.strip()
    assert reason in error
    assert "\n" not in error
    assert not (folders[0] / "cases.csv").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[labels", "not a TOML file"),
        ("[other]\n1 = 1\n", r"no table \[labels\]"),
        ("[labels]\nliver = 1\n", "liver = 1 is no pair"),
        ("[labels]\n1 = -1\n", "1 = -1 is no pair"),
        ("[labels]\n1 = 0\n", "every label to background"),
    ],
)
def test_wrong_maps(folders, tmp_path, text, reason):
    table = tmp_path / "map.toml"
    table.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        evaluate(EvaluateSpec(*folders, mapping=str(table), workers=0))


def test_label_outside_the_map_fails_its_case(folders, tmp_path, capsys):
    table = tmp_path / "map.toml"
    table.write_text("[labels]\n1 = 1\n")
    assert run(*folders, "--map", table) == 2
    assert "3 of 3 cases failed" in capsys.readouterr().err


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def twice(folder):
    (folder / "case_0.nii").write_bytes(b"")


def renamed(folder):
    for index, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"other_{index}.nii.gz")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (empty, "holds no label maps"),
        (twice, "case_0.nii and"),
        (renamed, "other_0, other_1, other_2 in"),
    ],
)
@pytest.mark.parametrize("side", [0, 1])
def test_wrong_folders_are_one_line(folders, capsys, spoil, reason, side):
    spoil(folders[side])
    assert run(*folders) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    if not (spoil is renamed and side):
        assert reason in error


def test_tolerance_of_no_region_is_refused_without_a_dataset(folders, capsys):
    assert run(*folders, "--tolerance", "label_11=2") == 2
    assert "--tolerance for label_11, which is no region" in capsys.readouterr().err
    assert not (folders[0] / "cases.csv").exists()
    assert run(*folders, "--tolerance", "label_1=2") == 0


def test_single_files_instead_of_folders(folders, tmp_path):
    predictions, labels = folders
    files = predictions / "case_0.nii.gz", labels / "case_1.nii.gz"
    assert run(*files, "--out", tmp_path / "out") == 0
    assert {row["case"] for row in rows_of(tmp_path / "out")} == {"case_1"}


@pytest.mark.parametrize("lists", [True, False])
def test_summary_json_spells_regions_as_the_dataset_json_does(folders, lists):
    """`str` of what nnU-Net 2.8.1's LabelManager keeps: a list as a tuple, a number as it is."""
    predictions, labels = folders
    table = {"background": 0, "whole": [2, 1], "core": [2] if lists else 2}
    content = {"labels": table, "regions_class_order": [1, 2]}
    (labels / "dataset.json").write_text(json.dumps(content))
    assert run(predictions, labels, "--summary-json") == 0
    found = json.loads((predictions / "summary.json").read_text())
    assert set(found) == {"foreground_mean", "mean", "metric_per_case"}
    assert set(found["mean"]) == {"(2, 1)", "(2,)" if lists else "2"}
    assert all(set(case["metrics"]) == set(found["mean"]) for case in found["metric_per_case"])
    names = {"Dice", "IoU", "FP", "TP", "FN", "TN", "n_pred", "n_ref"}
    assert set(found["foreground_mean"]) == names


def test_quiet_says_nothing_where_nothing_is_wrong(folders, tmp_path, capsys):
    predictions, labels = folders
    assert run(predictions, labels, "--quiet", "--summary-json") == 0
    table = predictions / "cases.csv"
    out = tmp_path / "ranks"
    assert main(["leaderboard", f"a={table}", f"b={table}", "--out", str(out), "-q"]) == 0
    assert (out / "leaderboard.csv").exists()
    assert capsys.readouterr() == ("", "")
    (predictions / "case_1.nii.gz").write_bytes(b"no scan")
    assert run(predictions, labels, "--quiet") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[-1].startswith("error: 1 of 3 cases failed: case_1")


def test_foreground_mean_is_undefined_where_a_labels_mean_is(folders):
    """`np.mean` over labels, as nnU-Net: a label that no map holds makes it NaN."""
    predictions, labels = folders
    assert run(predictions, labels, "--summary-json", "--labels", "a=1,b=2,nowhere=5") == 0
    found = json.loads((predictions / "summary.json").read_text())
    assert isnan(found["mean"]["5"]["Dice"])
    assert isnan(found["foreground_mean"]["Dice"])
    assert found["mean"]["5"]["n_ref"] == 0
    assert found["foreground_mean"]["n_ref"] > 0
