"""Predictions of a network of another dataset: what both name is scored, the rest is ignored."""

import csv

import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.datasets.label_map import find_label_maps, read_label_map, share_labels
from mednext_cli.datasets.registry import load_layout
from mednext_cli.foundation.errors import SettingsError
from tests.evaluation.conftest import boxes

# The source has organ 5 and vein 7, the target organ 1 and gut 2.
MAP = "[source]\nheart = 5\nvein = 7\n[target]\norgan = 1\ngut = 2\n[label_map]\n{pairs}"


@pytest.fixture
def transfer(tmp_path, write_labels):
    """The network calls all that the target calls gut, and one box of background, its heart."""
    reference = boxes()
    prediction = np.where(reference > 0, 5, 0).astype(np.uint8)
    prediction[8:10, 2:4, 3:5] = 5  # 8 voxels of background
    prediction[1, 2:8, 3:7] = 7  # 24 of the organ's 96
    write_labels(tmp_path / "labels" / "a.nii.gz", reference)
    write_labels(tmp_path / "predictions" / "a.nii.gz", prediction)
    table = tmp_path / "map.toml"
    table.write_text(MAP.format(pairs='organ = "heart"\n'))
    return tmp_path / "predictions", tmp_path / "labels", table


def score(predictions, labels, *options):
    found = main(["evaluate", str(predictions), str(labels), "--workers", "0", *map(str, options)])
    assert found == 0
    with (predictions / "cases.csv").open(newline="") as stream:
        return {row["region"]: float(row["dice"]) for row in csv.DictReader(stream)}


def test_false_positives_are_charged_on_background_and_not_on_ignored_labels(transfer):
    *folders, table = transfer
    dice = score(*folders, "--label-map", table)
    assert dice == {"organ": pytest.approx(2 * 72 / (96 + 72 + 8))}


def test_names_may_come_from_the_users_own_options(transfer):
    *folders, table = transfer
    table.write_text('[source]\nheart = 5\nvein = 7\n[label_map]\norgan = "heart"\n')
    assert set(score(*folders, "--label-map", table, "--labels", "organ=1,gut=2")) == {"organ"}


def test_two_datasets_share_twelve_organs():
    label_map = read_label_map("btcv_to_amos22")
    btcv, amos22 = (load_layout(name).label_set for name in ("btcv", "amos22"))
    shared = share_labels(label_map, btcv, amos22)
    assert [value for value in shared.mapping if not shared.mapping[value]] == [10]  # veins
    assert sorted(filter(None, shared.mapping.values())) == list(range(1, 13))
    assert shared.ignored == (13, 14, 15)  # duodenum, bladder, prostate or uterus


@pytest.mark.parametrize("name", find_label_maps())
def test_shipped_maps_name_labels_that_there_are(name):
    label_map = read_label_map(name)
    sides = (load_layout(side).label_set for side in (label_map.source, label_map.target))
    assert share_labels(label_map, *sides).mapping
    assert label_map.description


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[label_map\n", "not a TOML file"),
        ('source = "btcv"\n', "label_map: Field required"),
        ("[label_map]\n", "label_map: "),
        ("[label_map]\norgan = 1\n", "organ"),
        ('sauce = "btcv"\n[label_map]\norgan = "heart"\n', "sauce: Extra inputs"),
        ('[label_map]\norgan = "heart"\norgan = "vein"\n', "not a TOML file"),
        ('[label_map]\norgan = "heart"\nOrgan = "vein"\n', "organ and Organ are one name"),
        ('[label_map]\norgan = "heart"\ngut = "heart"\n', "heart stands for two labels"),
    ],
)
def test_what_is_no_label_map(tmp_path, text, reason):
    table = tmp_path / "map.toml"
    table.write_text(text)
    with pytest.raises(SettingsError, match=reason):
        read_label_map(str(table))


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ('organ = "hart"\n', "the source has no label hart"),
        ('orgen = "heart"\n', "the target has no label orgen"),
    ],
)
def test_unknown_names_are_told_before_anything_is_scored(transfer, capsys, pairs, reason):
    *folders, table = transfer
    table.write_text(MAP.format(pairs=pairs))
    assert main(["evaluate", *map(str, folders), "--label-map", str(table)]) == 2
    assert reason in capsys.readouterr().err
    assert not (folders[0] / "cases.csv").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--label-map", "btcv_to_amos"], "Did you mean btcv_to_amos22?"),
        (["--label-map", "absent.toml"], "does not exist"),
        (["--label-map", "btcv_to_amos22", "--map", "btcv:amos22"], "both translate labels"),
    ],
)
def test_wrong_options_are_one_line(transfer, capsys, options, reason):
    assert main(["evaluate", *map(str, transfer[:2]), *options]) == 2
    error = capsys.readouterr().err.strip()
    assert reason in error
    assert "\n" not in error


def test_names_of_the_predictions_must_come_from_somewhere(transfer, capsys):
    *folders, table = transfer
    table.write_text('[target]\norgan = 1\ngut = 2\n[label_map]\norgan = "heart"\n')
    assert main(["evaluate", *map(str, folders), "--label-map", str(table)]) == 2
    assert "labels of the predictions" in capsys.readouterr().err
