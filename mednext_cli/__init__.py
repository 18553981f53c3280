"""MedNeXt for 3D medical image segmentation (Roy et al., MICCAI 2023, arXiv 2303.09975).

What the commands do, as functions: each takes a frozen `...Spec` and gives a frozen `...Result`
(docs/python.md). A name is imported when it is first used; the package by itself loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mednext_cli.datasets.options import LayoutOptions as LayoutOptions
    from mednext_cli.evaluation.evaluate import EvaluateResult as EvaluateResult
    from mednext_cli.evaluation.evaluate import EvaluateSpec as EvaluateSpec
    from mednext_cli.evaluation.evaluate import evaluate as evaluate
    from mednext_cli.evaluation.leaderboard import LeaderboardResult as LeaderboardResult
    from mednext_cli.evaluation.leaderboard import LeaderboardSpec as LeaderboardSpec
    from mednext_cli.evaluation.leaderboard import leaderboard as leaderboard
    from mednext_cli.foundation.errors import MednextError as MednextError
    from mednext_cli.inference.predict import PredictResult as PredictResult
    from mednext_cli.inference.predict import PredictSpec as PredictSpec
    from mednext_cli.inference.predict import predict as predict
    from mednext_cli.inference.predictor import Prediction as Prediction
    from mednext_cli.inference.predictor import Predictor as Predictor
    from mednext_cli.networks.recipes import load_recipe as load_recipe
    from mednext_cli.networks.upkern import UpKernResult as UpKernResult
    from mednext_cli.networks.upkern import UpKernSpec as UpKernSpec
    from mednext_cli.networks.upkern import upkern as upkern
    from mednext_cli.preprocessing.run import PreprocessResult as PreprocessResult
    from mednext_cli.preprocessing.run import PreprocessSpec as PreprocessSpec
    from mednext_cli.preprocessing.run import preprocess as preprocess
    from mednext_cli.training.train import TrainResult as TrainResult
    from mednext_cli.training.train import TrainSpec as TrainSpec
    from mednext_cli.training.train import train as train

__version__ = "0.1.0"
_NAMES = {
    "datasets.options": ("LayoutOptions",),
    "evaluation.evaluate": ("EvaluateResult", "EvaluateSpec", "evaluate"),
    "evaluation.leaderboard": ("LeaderboardResult", "LeaderboardSpec", "leaderboard"),
    "foundation.errors": ("MednextError",),
    "inference.predict": ("PredictResult", "PredictSpec", "predict"),
    "inference.predictor": ("Prediction", "Predictor"),
    "networks.recipes": ("load_recipe",),
    "networks.upkern": ("UpKernResult", "UpKernSpec", "upkern"),
    "preprocessing.run": ("PreprocessResult", "PreprocessSpec", "preprocess"),
    "training.train": ("TrainResult", "TrainSpec", "train"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
