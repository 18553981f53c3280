"""MedNeXt for 3D medical image segmentation (Roy et al., MICCAI 2023, arXiv 2303.09975).

What the commands do, as functions: each takes a frozen `...Spec` and gives a frozen `...Result`
(docs/python.md). A name is imported when it is first used; the package by itself loads nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mednext_cli.cache.verify import VerifyCacheResult as VerifyCacheResult
    from mednext_cli.cache.verify import VerifyCacheSpec as VerifyCacheSpec
    from mednext_cli.cache.verify import verify_cache as verify_cache
    from mednext_cli.datasets.options import LayoutOptions as LayoutOptions
    from mednext_cli.datasets.phantom.write import PhantomResult as PhantomResult
    from mednext_cli.datasets.phantom.write import PhantomSpec as PhantomSpec
    from mednext_cli.datasets.phantom.write import phantom as phantom
    from mednext_cli.datasets.verify import VerifyResult as VerifyResult
    from mednext_cli.datasets.verify import VerifySpec as VerifySpec
    from mednext_cli.datasets.verify import verify as verify
    from mednext_cli.deployment.estimate import ClinicalSheetPlan as ClinicalSheetPlan
    from mednext_cli.deployment.estimate import plan_clinical_sheet as plan_clinical_sheet
    from mednext_cli.deployment.sheet import ClinicalSheetResult as ClinicalSheetResult
    from mednext_cli.deployment.sheet import clinical_sheet as clinical_sheet
    from mednext_cli.deployment.specification import ClinicalSheetSpec as ClinicalSheetSpec
    from mednext_cli.evaluation.evaluate import EvaluateResult as EvaluateResult
    from mednext_cli.evaluation.evaluate import EvaluateSpec as EvaluateSpec
    from mednext_cli.evaluation.evaluate import evaluate as evaluate
    from mednext_cli.evaluation.leaderboard import LeaderboardResult as LeaderboardResult
    from mednext_cli.evaluation.leaderboard import LeaderboardSpec as LeaderboardSpec
    from mednext_cli.evaluation.leaderboard import leaderboard as leaderboard
    from mednext_cli.experiments.plan import ExperimentPlan as ExperimentPlan
    from mednext_cli.experiments.plan import ExperimentSpec as ExperimentSpec
    from mednext_cli.experiments.plan import plan_experiment as plan_experiment
    from mednext_cli.experiments.run import ExperimentResult as ExperimentResult
    from mednext_cli.experiments.run import experiment as experiment
    from mednext_cli.exporting.export import export as export
    from mednext_cli.exporting.specification import Exported as Exported
    from mednext_cli.exporting.specification import ExportResult as ExportResult
    from mednext_cli.exporting.specification import ExportSpec as ExportSpec
    from mednext_cli.foundation.errors import MednextError as MednextError
    from mednext_cli.inference.ensembling.ensemble import EnsembleResult as EnsembleResult
    from mednext_cli.inference.ensembling.ensemble import EnsembleSpec as EnsembleSpec
    from mednext_cli.inference.ensembling.ensemble import ensemble as ensemble
    from mednext_cli.inference.postprocessing.fit import (
        FitPostprocessingResult as FitPostprocessingResult,
    )
    from mednext_cli.inference.postprocessing.fit import (
        FitPostprocessingSpec as FitPostprocessingSpec,
    )
    from mednext_cli.inference.postprocessing.fit import fit_postprocessing as fit_postprocessing
    from mednext_cli.inference.predict import predict as predict
    from mednext_cli.inference.predictor import Prediction as Prediction
    from mednext_cli.inference.predictor import Predictor as Predictor
    from mednext_cli.inference.specification import PredictResult as PredictResult
    from mednext_cli.inference.specification import PredictSpec as PredictSpec
    from mednext_cli.networks.recipes import load_recipe as load_recipe
    from mednext_cli.networks.upkern import UpKernResult as UpKernResult
    from mednext_cli.networks.upkern import UpKernSpec as UpKernSpec
    from mednext_cli.networks.upkern import upkern as upkern
    from mednext_cli.preprocessing.run import PreprocessResult as PreprocessResult
    from mednext_cli.preprocessing.run import PreprocessSpec as PreprocessSpec
    from mednext_cli.preprocessing.run import preprocess as preprocess
    from mednext_cli.scaling.report import ScaleReportResult as ScaleReportResult
    from mednext_cli.scaling.report import scale_report as scale_report
    from mednext_cli.scaling.specification import ScaleReportSpec as ScaleReportSpec
    from mednext_cli.training.cross_validation import CrossValidationResult as CrossValidationResult
    from mednext_cli.training.cross_validation import CrossValidationSpec as CrossValidationSpec
    from mednext_cli.training.cross_validation import cross_validate as cross_validate
    from mednext_cli.training.growing import GrowKernelsResult as GrowKernelsResult
    from mednext_cli.training.growing import GrowKernelsSpec as GrowKernelsSpec
    from mednext_cli.training.growing import grow_kernels as grow_kernels
    from mednext_cli.training.train import TrainResult as TrainResult
    from mednext_cli.training.train import TrainSpec as TrainSpec
    from mednext_cli.training.train import train as train

__version__ = "0.1.0"
_NAMES = {
    "cache.verify": ("VerifyCacheResult", "VerifyCacheSpec", "verify_cache"),
    "datasets.options": ("LayoutOptions",),
    "datasets.phantom.write": ("PhantomResult", "PhantomSpec", "phantom"),
    "datasets.verify": ("VerifyResult", "VerifySpec", "verify"),
    "deployment.estimate": ("ClinicalSheetPlan", "plan_clinical_sheet"),
    "deployment.sheet": ("ClinicalSheetResult", "clinical_sheet"),
    "deployment.specification": ("ClinicalSheetSpec",),
    "evaluation.evaluate": ("EvaluateResult", "EvaluateSpec", "evaluate"),
    "evaluation.leaderboard": ("LeaderboardResult", "LeaderboardSpec", "leaderboard"),
    "experiments.plan": ("ExperimentPlan", "ExperimentSpec", "plan_experiment"),
    "experiments.run": ("ExperimentResult", "experiment"),
    "exporting.export": ("export",),
    "exporting.specification": ("ExportResult", "ExportSpec", "Exported"),
    "foundation.errors": ("MednextError",),
    "inference.ensembling.ensemble": ("EnsembleResult", "EnsembleSpec", "ensemble"),
    "inference.postprocessing.fit": (
        "FitPostprocessingResult",
        "FitPostprocessingSpec",
        "fit_postprocessing",
    ),
    "inference.predict": ("predict",),
    "inference.predictor": ("Prediction", "Predictor"),
    "inference.specification": ("PredictResult", "PredictSpec"),
    "networks.recipes": ("load_recipe",),
    "networks.upkern": ("UpKernResult", "UpKernSpec", "upkern"),
    "preprocessing.run": ("PreprocessResult", "PreprocessSpec", "preprocess"),
    "scaling.report": ("ScaleReportResult", "scale_report"),
    "scaling.specification": ("ScaleReportSpec",),
    "training.cross_validation": (
        "CrossValidationResult",
        "CrossValidationSpec",
        "cross_validate",
    ),
    "training.growing": ("GrowKernelsResult", "GrowKernelsSpec", "grow_kernels"),
    "training.train": ("TrainResult", "TrainSpec", "train"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
