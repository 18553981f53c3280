"""What a page takes for granted, made up: raw folders, scans to predict, trained runs.

Also the settings that make a command take seconds; the pages' own lines stay as they are.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from mednext_cli.app import main
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.recipe import Recipe
from tests.datasets.conftest import write_series

_SHAPE = "24,64,64"
_TINY = (
    "training.epochs=1",
    "training.iterations_per_epoch=2",
    "training.validation_iterations=1",
    "training.patch_voxels=[16, 32, 16]",
    "training.batch_size=1",
    "training.folds=2",
    "inference.overlap=0.0",
    "inference.mirror=false",
)
_OVER_CASES = ("phantom", "preprocess", "predict", "postprocess", "evaluate")


def shortened(arguments: list[str]) -> list[str]:
    """The command with what makes it short; as it is where nothing is needed."""
    settings = [part for setting in _TINY for part in ("--set", setting)]
    if arguments[0] == "train" or "--measure" in arguments:
        return [*arguments, *settings]
    more = []
    if arguments[0] == "preprocess" and "--spacing" not in arguments:
        more = ["--spacing", "6.0"]
    if arguments[0] == "phantom":
        more = ["--shape", _SHAPE]
    if (
        arguments[0] in ("phantom", "preprocess", "predict", "postprocess", "evaluate")
        or "verify" in arguments
    ):
        more += ["--workers", "0"]
    return [*arguments, *more]


def shortened_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """`mednext_cli.load_recipe`, with what makes training short."""
    return load_recipe(name, (*settings, *_TINY))


def run(*arguments: str) -> None:
    """A command that must do, with what makes it short."""
    assert main(shortened(list(arguments))) == 0, " ".join(arguments)


def write_mr_crop() -> None:
    """scan.nii.gz: of the size that the bundled model takes."""
    voxels = np.random.default_rng(0).normal(100, 20, size=(35, 50, 36)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), "scan.nii.gz")


def main_job() -> None:
    """README.md: KiTS19 in raw/, and two folders of one's own; new scans with labels for both."""
    write_mr_crop()
    _write_phantom("raw", 4, seed=0)
    _as_folders("raw", Path("my_scans"), "images", "labels")
    _write_phantom("new", 1, seed=1)
    for images, labels in (("new_scans", "new_labels"), ("scans", "labels")):
        _as_folders("new", Path(), images, labels)


def prepared() -> None:
    """The cache of KiTS19, and scans/."""
    main_job()
    run("preprocess", "raw", "--dataset", "kits19")


def trained() -> None:
    """The first fold of S-k3, and scans/."""
    prepared()
    run("train", "kits19")


def trained_folds() -> None:
    """Both folds of S-k5, and scans/."""
    prepared()
    for fold in ("0", "1"):
        run("train", "kits19", "--kernel", "5", "--fold", fold)


def trained_folds_and_series() -> None:
    """The folds, scans/, and one of them as DICOM in ct_series/."""
    trained_folds()
    scan = nib.load(next(Path("scans").glob("*.nii.gz")))
    write_series(
        Path("ct_series"),
        np.asarray(scan.dataobj).astype(np.int16).transpose(1, 0, 2),
        tuple(map(float, scan.header.get_zooms())),
        RescaleSlope=1,
        RescaleIntercept=0,
        StudyInstanceUID="1.2.3",
        FrameOfReferenceUID="1.2.4",
    )


def nnunet_folder() -> None:
    """Dataset500_Kidneys with test cases, nnU-Net's splits of it, and predictions of nnU-Net."""
    raw = Path("Dataset500_Kidneys")
    _write_phantom("raw", 4, seed=0)
    _as_folders("raw", raw, "imagesTr", "labelsTr", ending="_0000")
    _write_phantom("new", 2, seed=1)
    _as_folders("new", raw, "imagesTs", "labelsTs", ending="_0000", start="new_")
    shutil.copytree(raw / "labelsTs", "nnunet_predictions")
    content = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "kidney": 1, "tumour": 2},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(content))
    cases = [f"case_{number:05}" for number in range(4)]
    splits = [
        {"train": cases[:2], "val": cases[2:]},
        {"train": cases[2:], "val": cases[:2]},
    ]
    folder = Path("nnUNet_preprocessed/Dataset500_Kidneys")
    folder.mkdir(parents=True)
    (folder / "splits_final.json").write_text(json.dumps(splits))


def own_data() -> None:
    """docs/datasets.md: a folder of nnU-Net's form."""
    nnunet_folder()
    Path("Dataset500_Kidneys").rename("Dataset500_Mine")


def hippocampus() -> None:
    """docs/concepts/recipe.md: a cache called Task04_Hippocampus."""
    _write_phantom("raw", 4, seed=0)
    _as_folders("raw", Path("Task04_Hippocampus"), "images", "labels")
    run("preprocess", "Task04_Hippocampus", "--dataset", "folder", "--modality", "mr")


SCENES: dict[str, Callable[[], None]] = {
    "README.md": main_job,
    "docs/concepts/prediction.md": trained_folds_and_series,
    "docs/concepts/recipe.md": hippocampus,
    "docs/datasets.md": own_data,
    "docs/export.md": trained,
    "docs/models.md": trained,
    "docs/networks.md": prepared,
    "docs/tutorials/from_nnunet.md": nnunet_folder,
}


def _write_phantom(folder: str, cases: int, seed: int) -> None:
    run("phantom", folder, "--cases", str(cases), "--seed", str(seed))


def _as_folders(
    raw: str, target: Path, images: str, labels: str, ending: str = "", start: str = ""
) -> None:
    """Images and labels of a KiTS19 folder in two folders, named by their cases."""
    for case in sorted(Path(raw).glob("case_*")):
        for name, folder, end in (("imaging", images, ending), ("segmentation", labels, "")):
            (target / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(
                case / f"{name}.nii.gz", target / folder / f"{start}{case.name}{end}.nii.gz"
            )
