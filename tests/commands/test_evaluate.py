import csv
import json

import nibabel as nib
import numpy as np
import pytest

from mednext_cli.app import main
from mednext_cli.evaluation.metrics.empty_masks import EMPTY_POLICIES
from tests.places import COMMITTED, DATA, shared_reference, with_real_data


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
        (["--empty-policy", "brats_21"], "'brats_21' is not one of 'nnunet', 'kits19'"),
        (["--missing", "skip"], "'skip' is not one of 'worst', 'drop'"),
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


def real_pair():
    """A prediction and the real reference, what the published packages say of it."""
    reference = DATA / "Task04_Hippocampus" / "labelsTr" / "hippocampus_001.nii.gz"
    folder = shared_reference() / "metrics"
    scores = json.loads((folder / "expected.json").read_text())["cases"]["hippocampus_001"]
    values = {name.lower(): row for name, row in scores["values"].items()}
    return folder / "hippocampus_001_prediction.nii.gz", reference, values


def made_up_pair(folder):
    """The same of made-up masks, with the names in a dataset.json as the real ones have it."""
    metrics, case = COMMITTED / "metrics", "organ_and_tumour"
    scores = json.loads((metrics / "expected.json").read_text())["cases"][case]
    paths = folder / "prediction.nii.gz", folder / "raw" / "labelsTr" / "case.nii.gz"
    paths[1].parent.mkdir(parents=True)
    with np.load(metrics / "label_maps.npz") as file:
        for path, name in zip(paths, ("prediction", "reference"), strict=True):
            nib.save(
                nib.Nifti1Image(file[f"{case}/{name}"], np.diag([*scores["spacing_mm"], 1])), path
            )
    names = {"0": "background", "1": "anterior", "2": "posterior"}
    training = [{"image": "./imagesTr/case.nii.gz", "label": "./labelsTr/case.nii.gz"}]
    content = {"modality": {"0": "MRI"}, "labels": names, "training": training, "test": []}
    (folder / "raw" / "dataset.json").write_text(json.dumps(content))
    values = scores["values"]
    return *paths, {"anterior": values["one"], "posterior": values["two"]}


@pytest.mark.parametrize("source", with_real_data("made up"))
def test_hippocampus_names_come_from_its_dataset_json(source, tmp_path):
    """A prediction against its reference, as a user would type it."""
    found = real_pair() if source == "real" else made_up_pair(tmp_path)
    prediction, labels, expected = found
    assert main(["evaluate", str(prediction), str(labels), "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "cases.csv").open(newline="") as stream:
        rows = {row["region"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["anterior", "posterior"]
    for name, row in rows.items():
        assert float(row["dice"]) == pytest.approx(expected[name]["dice"], abs=1e-12)
        assert float(row["hd95_mm"]) == pytest.approx(expected[name]["hd95_mm"], abs=1e-3)


def test_help_names_every_empty_mask_policy(capsys):
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    assert [name for name in EMPTY_POLICIES if name not in out] == []
