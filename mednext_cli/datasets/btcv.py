"""BTCV, "Beyond the Cranial Vault": abdominal CT with 13 organs, images and labels by number.

Source: Synapse syn3193805, Abdomen/RawData.zip. Images and labels belong together by their
four digits, not by equal names. Mirrors call the test folder Test, or arrange the same files in
imagesTr, labelsTr and imagesTs (MONAI's tutorials).
"""

import re
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet, labels_in_order
from mednext_cli.datasets.raw_folder import check_folder, either_ending, list_names, sorted_unique
from mednext_cli.foundation.errors import DatasetError

LABELS = labels_in_order(
    "spleen, right_kidney, left_kidney, gallbladder, oesophagus, liver, stomach, aorta, "
    "inferior_vena_cava, portal_and_splenic_veins, pancreas, right_adrenal_gland, "
    "left_adrenal_gland"
)
_ROOTS = (".", "RawData", "Abdomen/RawData")
_TRAINING = (("Training/img", "Training/label"), ("imagesTr", "labelsTr"))
_TEST = ("Testing/img", "Test/img", "imagesTs")
_IMAGE = re.compile(r"(img(?P<number>\d{4}))\.nii(\.gz)?")
_LABEL = re.compile(r"(label(?P<number>\d{4}))\.nii(\.gz)?")


class BtcvLayout:
    """RawData/Training/img/img0001.nii.gz with label/label0001.nii.gz; Testing/img."""

    description = "BTCV abdomen: RawData/Training/img, Training/label, Testing/img; 13 organs"
    label_set: LabelSet | None = LABELS

    def recognises(self, raw: Path) -> bool:
        """Whether there are numbered training images."""
        return _find_training(raw) is not None

    def read(self, raw: Path) -> Dataset:
        """List the numbered images in `raw`, its ``RawData`` or ``Abdomen/RawData``.

        A label without its image counts as a case, whose missing image is then reported.

        Raises:
            DatasetError: there are no training images, or a scan is there under two endings.
        """
        check_folder(raw)
        found = _find_training(raw)
        if found is None:
            raise DatasetError(
                f"{raw} holds no Training/img/img0001.nii.gz, neither itself nor in RawData",
                "Check the folder and --dataset.",
            )
        root, images, labels = found
        numbers = _numbers(images, _IMAGE) | _numbers(labels, _LABEL)
        cases = [_case(images, labels, number) for number in sorted(numbers)]
        for folder in (root / name for name in _TEST):
            cases += [_case(folder, None, number) for number in sorted(_numbers(folder, _IMAGE))]
        return Dataset("btcv", "btcv", ("CT",), LABELS, sorted_unique(cases, raw))


LAYOUT = BtcvLayout()


def _find_training(raw: Path) -> tuple[Path, Path, Path] | None:
    """The folder of the archive, of its training images and of their labels."""
    for root in (raw / name for name in _ROOTS):
        for images, labels in _TRAINING:
            if _numbers(root / images, _IMAGE):
                return root, root / images, root / labels
    return None


def _numbers(folder: Path, pattern: re.Pattern[str]) -> set[str]:
    names = list_names(folder) if folder.is_dir() else []
    return {match["number"] for match in map(pattern.fullmatch, names) if match}


def _case(images: Path, labels: Path | None, number: str) -> Case:
    image = either_ending(images, f"img{number}")
    label = None if labels is None else either_ending(labels, f"label{number}")
    return Case(f"img{number}", (Channel(image),), label)
