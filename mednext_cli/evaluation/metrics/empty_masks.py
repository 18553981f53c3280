"""What a score is where the reference, the prediction or both hold nothing of a region.

Challenges disagree, and the choice moves their tables, so it is data, has a name, and stands in
every row of cases.csv.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan

from mednext_cli.evaluation.choices import EmptyPolicyName

BOTH, REFERENCE, PREDICTION = "both_empty", "reference_empty", "prediction_empty"


@dataclass(frozen=True)
class EmptyScores:
    """The scores in one of the three situations.

    Attributes:
        overlap: Dice, intersection over union, sensitivity, precision, and lesions' scores.
        surface_dice: surface Dice.
        distance_mm: mean and median surface distance, HD95 and HD100, mm.
    """

    overlap: float
    surface_dice: float
    distance_mm: float


@dataclass(frozen=True)
class EmptyPolicy:
    """A named convention.

    Attributes:
        description: whose convention it is, in one line.
        both: neither the reference nor the prediction has the region.
        reference: the prediction alone has it: false positives only.
        prediction: the reference alone has it: it was missed.
        missing: there is no prediction at all: a failure, whatever the reference holds.
    """

    description: str
    both: EmptyScores
    reference: EmptyScores
    prediction: EmptyScores

    def of(self, reason: str) -> EmptyScores:
        """The scores for one of the reasons `BOTH`, `REFERENCE`, `PREDICTION`."""
        return {BOTH: self.both, REFERENCE: self.reference, PREDICTION: self.prediction}[reason]

    @property
    def missing(self) -> EmptyScores:
        """The scores of a case without a prediction: nothing right, as far off as it gets."""
        return EmptyScores(0.0, 0.0, self.prediction.distance_mm)


_UNDEFINED = EmptyScores(nan, nan, nan)
_WRONG = EmptyScores(0.0, 0.0, inf)
_RIGHT = EmptyScores(1.0, 1.0, 0.0)
# BraTS: the diagonal of its 240 x 240 x 155 grid of 1 mm.
_BRATS_WORST = EmptyScores(0.0, 0.0, 373.12866)
_BRATS23_WORST = EmptyScores(0.0, 0.0, 374.0)
_KITS23 = EmptyPolicy(
    "KiTS21 and KiTS23: both empty Dice and surface Dice 1, one empty 0",
    both=_RIGHT,
    reference=_WRONG,
    prediction=_WRONG,
)
_BRATS23 = EmptyPolicy(
    "BraTS from 2023: both empty Dice 1 and distance 0, one empty Dice 0 and 374 mm",
    both=_RIGHT,
    reference=_BRATS23_WORST,
    prediction=_BRATS23_WORST,
)

DEFAULT_POLICY: EmptyPolicyName = "nnunet"
EMPTY_POLICIES: Mapping[EmptyPolicyName, EmptyPolicy] = {
    "nnunet": EmptyPolicy(
        "nnU-Net: both empty undefined, one empty Dice 0; distances infinite when one is empty",
        both=_UNDEFINED,
        reference=_WRONG,
        prediction=_WRONG,
    ),
    "kits19": EmptyPolicy(
        "KiTS19: Dice 0 whenever either is empty, both included; distances are not scored there",
        both=EmptyScores(0.0, 0.0, nan),
        reference=_WRONG,
        prediction=_WRONG,
    ),
    "kits21": _KITS23,
    "kits23": _KITS23,
    "brats21": EmptyPolicy(
        "BraTS up to 2021: both empty Dice 1 and distance 0, one empty Dice 0 and 373.12866 mm",
        both=_RIGHT,
        reference=_BRATS_WORST,
        prediction=_BRATS_WORST,
    ),
    "brats23": _BRATS23,
    "brats24": _BRATS23,
    "amos22": EmptyPolicy(
        "AMOS22 (convention not published; as surface-distance): both empty undefined, one empty 0",
        both=_UNDEFINED,
        reference=_WRONG,
        prediction=_WRONG,
    ),
    "btcv": EmptyPolicy(
        "BTCV as the MedNeXt paper averages it: both empty undefined, one empty 0",
        both=_UNDEFINED,
        reference=_WRONG,
        prediction=_WRONG,
    ),
    "msd": EmptyPolicy(
        "MSD, which scores by surface-distance: both empty undefined and infinitely far, one 0",
        both=EmptyScores(nan, nan, inf),
        reference=_WRONG,
        prediction=_WRONG,
    ),
    "totalsegmentator": EmptyPolicy(
        "TotalSegmentator: undefined where the reference is empty, 0 where it was missed",
        both=_UNDEFINED,
        reference=_UNDEFINED,
        prediction=_WRONG,
    ),
}


def policy_of_dataset(dataset: str | None) -> EmptyPolicyName:
    """The name of the policy of a challenge, where it has one, else the default's."""
    return next((name for name in EMPTY_POLICIES if name == dataset), DEFAULT_POLICY)
