"""BTCV, "Beyond the Cranial Vault": abdominal CT with 13 organs, images and labels by number.

Source: Synapse syn3193805, Abdomen/RawData.zip. Images and labels belong together by their
four digits, not by equal names. Mirrors call the test folder Test, or arrange the same files in
imagesTr, labelsTr and imagesTs (MONAI's tutorials).
"""

import re
from pathlib import Path

from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.datasets.raw_folder import (
    CHECK,
    OtherLayoutError,
    Scans,
    check_folder,
    sorted_unique,
)
from mednext_cli.settings.labels import LabelSet, labels_in_order

LABELS = labels_in_order(
    "spleen, right_kidney, left_kidney, gallbladder, oesophagus, liver, stomach, aorta, "
    "inferior_vena_cava, portal_and_splenic_veins, pancreas, right_adrenal_gland, "
    "left_adrenal_gland"
)
_ROOTS = (".", "RawData", "Abdomen/RawData")
_TRAINING = (("Training/img", "Training/label"), ("imagesTr", "labelsTr"))
_TEST = ("Testing/img", "Test/img", "imagesTs")
_IMAGE = re.compile(r"img(\d{4})")
_LABEL = re.compile(r"label(\d{4})")


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
            raise OtherLayoutError(
                f"{raw} holds no Training/img/img0001.nii.gz, neither itself nor in RawData", CHECK
            )
        root, images, labels = found
        numbers = _numbers(images, _IMAGE) | _numbers(labels, _LABEL)
        cases = [_case(images, labels, number) for number in sorted(numbers)]
        for folder in (Scans(root / name) for name in _TEST):
            cases += [_case(folder, None, number) for number in sorted(_numbers(folder, _IMAGE))]
        return Dataset("btcv", "btcv", ("CT",), LABELS, sorted_unique(cases, raw))


LAYOUT = BtcvLayout()


def _find_training(raw: Path) -> tuple[Path, Scans, Scans] | None:
    """The folder of the archive, its training images and their labels."""
    for root in (raw / name for name in _ROOTS):
        for images, labels in _TRAINING:
            if _numbers(scans := Scans(root / images), _IMAGE):
                return root, scans, Scans(root / labels)
    return None


def _numbers(scans: Scans, pattern: re.Pattern[str]) -> set[str]:
    return {match[1] for match in map(pattern.fullmatch, scans) if match}


def _case(images: Scans, labels: Scans | None, number: str) -> Case:
    label = None if labels is None else labels.path(f"label{number}")
    return Case(f"img{number}", (Channel(images.path(f"img{number}")),), label)
