"""Which prediction belongs to which reference."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.datasets.raw_folder import scan_id
from mednext_cli.evaluation.scoring.label_maps import (
    ENDINGS,
    few,
    find_label_maps,
    folders_with_scans,
    same_form,
)
from mednext_cli.evaluation.scoring.score_case import CasePair
from mednext_cli.foundation.errors import DatasetError

_CHANNEL = "_0000"  # nnU-Net's number of an image's first channel, which a label map has not
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pairs:
    """What was matched.

    Attributes:
        pairs: one per reference, sorted by case id.
        extra: predictions without a reference.
    """

    pairs: tuple[CasePair, ...]
    extra: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Cases without a prediction."""
        return tuple(pair.case for pair in self.pairs if pair.prediction is None)


def pair_up(predictions: Path, references: Mapping[str, Path]) -> Pairs:
    """Match predictions with references by the case's name, or else by the reference file's (BTCV
    has label0001 for img0001), or else but for a channel number; two single files match whatever
    their names. Names are the same in either Unicode form.

    Raises:
        DatasetError: no predictions, or no name matches.
    """
    found = find_label_maps(predictions)
    if not found:
        inner = folders_with_scans(predictions)
        hint = f"give one of its folders ({few(inner)})" if inner else "check the folder"
        raise DatasetError(f"{predictions} holds no label maps", f"{ENDINGS}; {hint}.")
    if not references:
        raise DatasetError("there are no reference label maps", "Check the folder of the labels.")
    references = {same_form(case): path for case, path in references.items()}
    if predictions.is_file() and len(references) == 1:
        found = dict(zip(references, found.values(), strict=True))
    elif predictions.is_file():
        references = {case: references[case] for case in found if case in references} or references
    found = _but_for_channels(_by_case(found, references), references)
    if not found.keys() & references.keys():
        raise DatasetError(
            f"no prediction is named like a reference: {few(found)} in {predictions} against "
            f"{few(references)}",
            "Name each prediction CASE.nii.gz after its reference.",
        )
    pairs = [CasePair(case, references[case], found.get(case)) for case in sorted(references)]
    return Pairs(tuple(pairs), tuple(sorted(found.keys() - references.keys())))


def _by_case(found: Mapping[str, Path], references: Mapping[str, Path]) -> dict[str, Path]:
    """Predictions by case id, those that are named like a reference's file included."""
    stems = [same_form(scan_id(path.name)) for path in references.values()]
    cases = {
        stem: case
        for stem, case in zip(stems, references, strict=True)
        if stems.count(stem) == 1 and stem not in references and case not in found
    }
    return {cases.get(name, name): path for name, path in found.items()}


def _but_for_channels(found: Mapping[str, Path], references: Mapping[str, Path]) -> dict[str, Path]:
    """Predictions by case id, those that are named with a channel number, or whose reference is."""
    cases: dict[str, str] = {}
    for name in found.keys() - references.keys():
        for case in (name.removesuffix(_CHANNEL), name + _CHANNEL):
            if case in references and case not in found and case not in cases.values():
                cases[name] = case
    if cases:
        name, case = min(cases.items())
        logger.info(
            "%d predictions are matched but for the channel number %s: %s with the reference %s",
            len(cases), _CHANNEL, name, case,
        )  # fmt: skip
    return {cases.get(name, name): path for name, path in found.items()}
