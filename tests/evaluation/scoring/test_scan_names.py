"""Label maps under any name that is one: paired, or named as passed over."""

import csv
import unicodedata

import nibabel as nib
import pytest
import SimpleITK

from mednext_cli.app import main
from mednext_cli.evaluation.scoring.label_maps import find_label_maps
from tests.evaluation.conftest import boxes


def statuses(folder):
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as stream:
        return {row["case"]: row["status"] for row in csv.DictReader(stream)}


def evaluate(predictions, labels):
    return main(["evaluate", str(predictions), str(labels), "--workers", "0"])


@pytest.mark.parametrize(
    "name", ["case_1.NII.GZ", "case_1.Nii", "case_1.nrrd", "case_1.mha", "case_1.MHD", "case_1.hdr"]
)
@pytest.mark.parametrize("place", ["predictions", "labels"])
def test_every_ending_that_is_read_is_paired(folders, capsys, place, name):
    folder = next(one for one in folders if one.name == place)
    image = SimpleITK.ReadImage(str(folder / "case_1.nii.gz"))
    (folder / "case_1.nii.gz").unlink()
    written = folder / name.lower()
    if name.endswith(".hdr"):
        shift = int(place == "predictions")
        array, affine = boxes(5, shift=shift), nib.load(folder / "case_0.nii.gz").affine
        nib.save(nib.Nifti1Pair(array, affine), written)
    else:
        SimpleITK.WriteImage(image, str(written))
        written.rename(folder / name)
    assert evaluate(*folders) == 0
    assert statuses(folders[0]) == {f"case_{i}": "ok" for i in range(3)}
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["case_1.nii.bz2", "case_1.img", "case_1.gipl", "case_1.mnc"])
def test_what_cannot_be_read_is_named(folders, capsys, name):
    predictions, _ = folders
    (predictions / "case_1.nii.gz").rename(predictions / name)
    assert evaluate(*folders) == 0
    said = capsys.readouterr().err
    assert f"{predictions / name} is passed over" in said
    assert "1 case without a prediction (case_1)" in said


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_either_unicode_form_are_the_same(tmp_path, write_labels, forms):
    for folder, form in zip(("p", "l"), forms, strict=True):
        for name in ("müller", "åse"):
            write_labels(tmp_path / folder / f"{unicodedata.normalize(form, name)}.nii.gz", boxes())
    assert evaluate(tmp_path / "p", tmp_path / "l") == 0
    assert statuses(tmp_path / "p") == {"müller": "ok", "åse": "ok"}


def test_one_name_in_both_forms_is_a_duplicate(tmp_path, write_labels, capsys):
    for form in ("NFC", "NFD"):
        write_labels(tmp_path / "p" / f"{unicodedata.normalize(form, 'é')}.nii.gz", boxes())
    write_labels(tmp_path / "l" / "é.nii.gz", boxes())
    assert evaluate(tmp_path / "p", tmp_path / "l") == 2
    assert "the same scan by name" in capsys.readouterr().err


@pytest.mark.parametrize("numbered", ["p", "l"])
def test_a_channel_number_does_not_hide_a_case(tmp_path, write_labels, capsys, numbered):
    for folder in "pl":
        end = "_0000" if folder == numbered else ""
        for case in ("a", "b"):
            write_labels(tmp_path / folder / f"{case}{end}.nii.gz", boxes())
    assert evaluate(tmp_path / "p", tmp_path / "l") == 0
    assert set(statuses(tmp_path / "p").values()) == {"ok"}
    assert "but for the channel number _0000" in capsys.readouterr().err


def test_a_case_of_that_name_goes_before_a_channel_number(tmp_path, write_labels):
    for name in ("case", "case_0000"):
        write_labels(tmp_path / "p" / f"{name}.nii.gz", boxes(shift=int(name == "case")))
        write_labels(tmp_path / "l" / f"{name}.nii.gz", boxes(shift=int(name == "case")))
    assert evaluate(tmp_path / "p", tmp_path / "l") == 0
    assert statuses(tmp_path / "p") == {"case": "ok", "case_0000": "ok"}
    with (tmp_path / "p" / "cases.csv").open(newline="") as stream:
        assert {row["dice"] for row in csv.DictReader(stream)} == {"1.0"}


def test_a_folder_a_case(tmp_path, write_labels, capsys):
    """KiTS19's segmentation in any spelling, or a file of the folder's own name."""
    write_labels(tmp_path / "p" / "a" / "SEGMENTATION.NII.GZ", boxes())
    write_labels(tmp_path / "p" / "b" / "b.nii.gz", boxes())
    write_labels(tmp_path / "p" / "c" / "imaging.nii.gz", boxes())
    for case in "ab":
        write_labels(tmp_path / "l" / f"{case}.nii.gz", boxes())
    assert evaluate(tmp_path / "p", tmp_path / "l") == 0
    assert statuses(tmp_path / "p") == {"a": "ok", "b": "ok"}
    assert "no segmentation in 1 folders: c" in capsys.readouterr().err


def test_sub_folders_beside_label_maps_are_named(folders, write_labels, capsys):
    predictions, labels = folders
    write_labels(predictions / "fold_1" / "case_0.nii.gz", boxes())
    (predictions / "logs").mkdir()
    assert evaluate(predictions, labels) == 0
    said = capsys.readouterr().err
    assert f"{predictions}: sub-folder with scans passed over: fold_1" in said
    assert "logs" not in said


def test_label_maps_one_folder_further_down_are_pointed_at(folders, tmp_path, capsys):
    assert evaluate(tmp_path, folders[1]) == 2
    assert "give one of its folders (labels, predictions)" in capsys.readouterr().err
    deep = tmp_path / "deep"
    (deep / "inner").mkdir(parents=True)
    folders[1].rename(deep / "inner" / "labels")
    assert evaluate(folders[0], deep / "inner" / "labels" / "..") == 0  # labels/ is looked into
    assert evaluate(folders[0], deep) == 2
    assert "holds no label maps" in capsys.readouterr().err


def test_hidden_files_are_no_label_maps(tmp_path):
    (tmp_path / "._a.nii.gz").write_bytes(b"resource fork")
    assert find_label_maps(tmp_path) == {}
