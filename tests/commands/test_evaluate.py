import csv

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.evaluation.empty_masks import EMPTY_POLICIES


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), path)


@pytest.fixture
def folders(tmp_path):
    array = np.zeros((8, 9, 7), np.uint8)
    array[2:6, 2:7, 1:5], array[2:4, 2:7, 1:5] = 1, 2
    for case in ("case_00000", "case_00001"):
        write(tmp_path / "raw" / case / "segmentation.nii.gz", array)
        write(tmp_path / "preds" / f"{case}.nii.gz", np.roll(array, 1, axis=0))
    return tmp_path / "preds", tmp_path / "raw"


def test_scores_go_beside_the_predictions_and_means_to_stdout(folders, capsys):
    predictions, raw = folders
    assert main(["evaluate", f"{predictions}/", f"{raw}/", "--dataset", "kits19"]) == 0
    with (predictions / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["region"] for row in rows] == ["kidney_and_tumour", "tumour"] * 2
    assert [float(row["dice"]) for row in rows] == pytest.approx([0.75, 0.5] * 2)
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()[:4]] == [
        "region",
        "kidney_and_tumour",
        "tumour",
        "overall",
    ]
    assert str(predictions) in out.splitlines()[-1]
    assert "error" not in err


def test_failed_case_exits_2_and_the_others_are_scored(folders, tmp_path, capsys):
    predictions, raw = folders
    write(predictions / "case_00001.nii.gz", np.zeros((8, 9, 6), np.uint8))
    out = tmp_path / "out"
    assert main(["evaluate", str(predictions), str(raw), "--out", str(out), "--workers", "0"]) == 2
    err = capsys.readouterr().err
    assert "case_00001.nii.gz lies on another grid" in err
    assert err.splitlines()[-1].startswith("error: 1 of 2 cases failed: case_00001")
    assert "case_00000,label_1" in (out / "cases.csv").read_text()
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--dataset", "kits91"], "unknown dataset layout 'kits91'"),
        (["--empty-policy", "brats_21"], "Did you mean brats21"),
        (["--missing", "skip"], "Known: drop, worst"),
        (["--tolerance", "-1"], "tolerance of -1.0 mm"),
        (["--tolerance", "two"], "--tolerance two"),
        (["--tolerance", "1", "--tolerance", "2"], "twice for all regions"),
        (["--dataset", "kits19", "--tolerance", "tumor=2"], "Did you mean tumour"),
    ],
)
def test_wrong_options_end_with_one_line(folders, capsys, options, text):
    assert main(["evaluate", *map(str, folders), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert text in lines[0]
    assert not (folders[0] / "cases.csv").exists()


def test_wrong_folders_end_with_one_line(folders, tmp_path, capsys):
    predictions, raw = folders
    (tmp_path / "empty").mkdir()
    for arguments in (
        [tmp_path / "nowhere", raw],
        [tmp_path / "empty", raw],
        [predictions, tmp_path / "empty"],
        [raw / "case_00000" / "segmentation.nii.gz", tmp_path / "nowhere"],
    ):
        assert main(["evaluate", *map(str, arguments)]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert any(part in lines[0] for part in ("nowhere", "empty"))


def test_one_file_each_works(folders, tmp_path):
    predictions, raw = folders
    pair = [predictions / "case_00001.nii.gz", raw / "case_00000" / "segmentation.nii.gz"]
    out = tmp_path / "out"
    assert main(["evaluate", *map(str, pair), "--out", str(out), "--tolerance", "0.5"]) == 0
    with (out / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["tolerance_mm"]) for row in rows] == [("case_00000", "0.5")] * 2


def test_regions_have_tolerances_of_their_own(folders, tmp_path):
    predictions, raw = folders
    pair = [predictions / "case_00001.nii.gz", raw / "case_00000" / "segmentation.nii.gz"]
    words = ["--dataset", "kits19", "--tolerance", "2", "--tolerance", "tumour=0.5"]
    assert main(["evaluate", *map(str, pair), "--out", str(tmp_path), *words]) == 0
    with (tmp_path / "cases.csv").open(newline="") as stream:
        found = {row["region"]: row["tolerance_mm"] for row in csv.DictReader(stream)}
    assert found == {"kidney_and_tumour": "2.0", "tumour": "0.5"}


def test_hippocampus_names_come_from_its_dataset_json(data_folder, reference_folder, tmp_path):
    """A published prediction against the real reference, as a user would type it."""
    labels = data_folder / "Task04_Hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"
    prediction = reference_folder / "metrics" / "hippocampus_001_prediction.nii.gz"
    assert main(["evaluate", str(prediction), str(labels), "--out", str(tmp_path)]) == 0
    with (tmp_path / "cases.csv").open(newline="") as stream:
        rows = {row["region"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["anterior", "posterior"]
    assert float(rows["anterior"]["dice"]) == pytest.approx(0.734225621414914, abs=1e-12)
    assert float(rows["posterior"]["hd95_mm"]) == pytest.approx(7.14142842854285, abs=1e-3)


def test_help_names_every_empty_mask_policy(capsys):
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    assert [name for name in EMPTY_POLICIES if name not in out] == []
