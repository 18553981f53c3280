import json

import numpy as np
import pytest

from mednext_cli.evaluation.scoring.label_maps import find_label_maps
from mednext_cli.evaluation.scoring.pairing import pair_up
from mednext_cli.evaluation.scoring.references import find_references
from mednext_cli.foundation.errors import DatasetError, PluginError

MAP = np.ones((2, 2, 2), np.uint8)


def test_kits19_folders_give_their_names(tmp_path, write_labels):
    for case in ("case_00000", "case_00003"):
        write_labels(tmp_path / case / "segmentation.nii.gz", MAP)
        write_labels(tmp_path / case / "imaging.nii.gz", MAP)
    found = find_references(tmp_path, "kits19")
    assert list(found.paths) == ["case_00000", "case_00003"]
    assert found.label_set.regions == {"kidney_and_tumour": (1, 2), "tumour": (2,)}
    assert find_references(tmp_path).label_set is None
    assert list(find_label_maps(tmp_path / "case_00003" / "segmentation.nii.gz")) == ["case_00003"]


@pytest.fixture
def msd(tmp_path, write_labels):
    raw = tmp_path / "Task99_Spoon"
    entries = []
    for name in ("spoon_1.nii.gz", "spoon_2.nii.gz"):
        write_labels(raw / "imagesTr" / name, MAP)
        write_labels(raw / "labelsTr" / name, MAP)
        entries.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    description = {
        "labels": {"0": "background", "1": "Big Spoon"},
        "modality": {"0": "MRI"},
        "training": entries,
        "test": [],
    }
    (raw / "dataset.json").write_text(json.dumps(description))
    return raw


@pytest.mark.parametrize("dataset", [None, "msd"])
@pytest.mark.parametrize("part", ["", "labelsTr", "labelsTr/spoon_1.nii.gz"])
def test_msd_names_come_from_the_dataset_json_beside(msd, dataset, part):
    found = find_references(msd / part, dataset)
    assert found.label_set.regions == {"big_spoon": (1,)}
    assert set(found.paths) == ({"spoon_1"} if part.endswith(".gz") else {"spoon_1", "spoon_2"})


def test_a_dataset_json_that_cannot_be_used_does_not_stop_a_guess(msd):
    (msd / "dataset.json").write_text("{}")
    assert find_references(msd / "labelsTr").label_set is None
    with pytest.raises(DatasetError, match="labels"):
        find_references(msd / "labelsTr", "msd")


def test_unknown_dataset_lists_the_known_ones(tmp_path):
    with pytest.raises(PluginError, match="Did you mean kits19"):
        find_references(tmp_path, "kits_19")


def test_duplicate_stems_are_refused(tmp_path, write_labels):
    write_labels(tmp_path / "a.nii", MAP)
    write_labels(tmp_path / "a.nii.gz", MAP)
    with pytest.raises(DatasetError, match=r"a\.nii and .*a\.nii\.gz are the same scan"):
        find_label_maps(tmp_path)


def test_hidden_files_are_passed_over(tmp_path, write_labels):
    write_labels(tmp_path / "a.nii.gz", MAP)
    (tmp_path / "._a.nii.gz").write_bytes(b"resource fork")
    assert list(find_label_maps(tmp_path)) == ["a"]


def test_names_that_do_not_match_say_what_was_compared(tmp_path, write_labels):
    write_labels(tmp_path / "p" / "x.nii.gz", MAP)
    references = {"y": write_labels(tmp_path / "l" / "y.nii.gz", MAP)}
    with pytest.raises(DatasetError, match=r"x in .*p against y"):
        pair_up(tmp_path / "p", references)


def test_a_prediction_may_be_named_like_the_reference_file(tmp_path, write_labels):
    """BTCV's label0001 is the label map of img0001."""
    for folder, name in (("refs", "label0001"), ("refs", "label0002"), ("preds", "label0001")):
        write_labels(tmp_path / folder / f"{name}.nii.gz", MAP)
    references = {f"img000{i}": tmp_path / "refs" / f"label000{i}.nii.gz" for i in (1, 2)}
    found = pair_up(tmp_path / "preds", references)
    assert [(pair.case, pair.prediction is not None) for pair in found.pairs] == [
        ("img0001", True),
        ("img0002", False),
    ]
    assert found.extra == ()


def test_two_files_match_whatever_their_names(tmp_path, write_labels):
    prediction = write_labels(tmp_path / "x.nii.gz", MAP)
    reference = write_labels(tmp_path / "y.nii.gz", MAP)
    pairs = pair_up(prediction, {"y": reference}).pairs
    assert [(one.case, one.prediction) for one in pairs] == [("y", prediction)]


def test_one_file_against_a_folder_is_one_case(tmp_path, write_labels):
    references = {name: write_labels(tmp_path / f"{name}.nii.gz", MAP) for name in "abc"}
    pairs = pair_up(write_labels(tmp_path / "p" / "b.nii.gz", MAP), references).pairs
    assert [one.case for one in pairs] == ["b"]


def test_missing_and_extra_are_told_apart(tmp_path, write_labels):
    references = {name: write_labels(tmp_path / "l" / f"{name}.nii.gz", MAP) for name in "ab"}
    for name in "bc":
        write_labels(tmp_path / "p" / f"{name}.nii.gz", MAP)
    matched = pair_up(tmp_path / "p", references)
    assert (matched.missing, matched.extra) == (("a",), ("c",))
