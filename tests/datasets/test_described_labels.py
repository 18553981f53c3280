import json

import pytest

from mednext_cli.datasets.described_labels import read_described_labels, read_listed_labels
from mednext_cli.foundation.errors import DatasetError, SettingsError

REGIONS = {"background": 0, "whole tumour": [1, 2], "core": 2, "ignore": 3}


def describe(folder, **content):
    (folder / "dataset.json").write_text(json.dumps(content))
    return read_described_labels(folder)


def test_regions_and_the_ignore_value_of_nnunet(tmp_path):
    found = describe(tmp_path, labels=REGIONS, regions_class_order=[1, 2])
    assert found.regions == {"whole_tumour": (1, 2), "core": (2,)}
    assert (found.ignore, found.region_training) == (3, True)


def test_numbered_labels_with_the_tolerance_of_a_decathlon_task(tmp_path):
    raw = tmp_path / "Task04_Hippocampus"
    raw.mkdir()
    found = describe(raw, labels={"0": "background", "1": "Anterior", "02": "Posterior"})
    assert found.regions == {"anterior": (1,), "posterior": (2,)}
    assert found.tolerance_mm == {"anterior": 1.0, "posterior": 1.0}


@pytest.mark.parametrize("labels", [None, [], {}, {"background": 0}, {"liver": -1}])
def test_what_names_no_label_is_one_line(tmp_path, labels):
    with pytest.raises(DatasetError, match=r"dataset\.json"):
        describe(tmp_path, labels=labels)


def test_labels_as_an_option_lists_them():
    found = read_listed_labels("background=0, Liver=1,liver and tumour=1+2,ignore=9")
    assert found.regions == {"liver": (1,), "liver_and_tumour": (1, 2)}
    assert found.names == {"liver": 1, "label_2": 2}
    assert (found.ignore, found.region_training) == (9, False)
    assert read_listed_labels("a=b=3").regions == {"a_b": (3,)}


@pytest.mark.parametrize(
    "text",
    ["", "liver", "liver=", "=1", "liver=one", "liver=-1", "liver=1.0", "liver=65536", "liver=²",
     "a=1,a=2", "a=1,A=2", "a=1,b=1", "background=0", "a=0+1", "a=1,ignore=1", "%=1",
     "a=1,ignore=2+3", "liver=99999999999999999999"],
)  # fmt: skip
def test_labels_without_meaning_are_refused(text):
    with pytest.raises(SettingsError, match="--labels"):
        read_listed_labels(text)
