"""The Python API: what `mednext_cli` gives, and that it loads when it is used."""

import ast
import subprocess
import sys
from dataclasses import is_dataclass
from inspect import signature
from pathlib import Path

import pytest

import mednext_cli
from tests.contracts.test_imports import HEAVY

_WORK = {
    "preprocess": "Preprocess",
    "train": "Train",
    "cross_validate": "CrossValidation",
    "grow_kernels": "GrowKernels",
    "upkern": "UpKern",
    "predict": "Predict",
    "ensemble": "Ensemble",
    "fit_postprocessing": "FitPostprocessing",
    "evaluate": "Evaluate",
    "leaderboard": "Leaderboard",
    "experiment": "Experiment",
    "scale_report": "ScaleReport",
    "clinical_sheet": "ClinicalSheet",
    "export": "Export",
    "phantom": "Phantom",
    "verify": "Verify",
    "verify_cache": "VerifyCache",
}


def test_the_package_alone_loads_nothing_heavy() -> None:
    code = (
        "import sys, mednext_cli; names = dir(mednext_cli); version = mednext_cli.__version__; "
        f"print(*(name for name in {(*HEAVY, 'pydantic', 'typer')} if name in sys.modules)); "
        "print(*(name for name in sys.modules if name.startswith('mednext_cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_names_for_type_checkers_are_those_that_load() -> None:
    tree = ast.parse(Path(mednext_cli.__file__).read_text(encoding="utf-8"))
    told = {
        alias.asname: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("mednext_cli.")
        for alias in node.names
    }
    loaded = {name: f"mednext_cli.{module}" for name, module in mednext_cli._MODULES.items()}
    assert told == loaded
    assert set(told) <= set(dir(mednext_cli))
    assert all(getattr(mednext_cli, name).__name__ == name for name in told)


@pytest.mark.parametrize(("work", "name"), _WORK.items())
def test_work_takes_a_spec_and_gives_a_result(work: str, name: str) -> None:
    spec, result = (getattr(mednext_cli, f"{name}{end}") for end in ("Spec", "Result"))
    told = signature(getattr(mednext_cli, work))
    assert [one.annotation for one in told.parameters.values()] == [spec]
    assert told.return_annotation is result
    for one in (spec, result):
        assert is_dataclass(one)
        assert one.__dataclass_params__.frozen
        assert " " in one.__doc__.partition("(")[0]  # not the one that dataclasses make


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'predikt'"):
        mednext_cli.predikt  # noqa: B018 - the access is what is tested
