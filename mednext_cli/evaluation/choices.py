"""The words that options of evaluation take; light, since `--help` lists them."""

from typing import Literal

EmptyPolicyName = Literal[
    "nnunet",
    "kits19",
    "kits21",
    "kits23",
    "brats21",
    "brats23",
    "brats24",
    "amos22",
    "btcv",
    "msd",
    "totalsegmentator",
]
MissingCase = Literal["worst", "drop"]
Protocol = Literal["mednext"]
Hd95Definition = Literal["surface_distance", "medpy"]
LesionMatching = Literal["iou", "any"]
Aggregate = Literal["mean", "median"]
Correction = Literal["holm", "none"]
UndefinedScore = Literal["last", "drop"]
