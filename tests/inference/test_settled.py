"""A call that has nothing to do is told without the networks, and only where that is certain."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mednext_cli.foundation.parts import Part
from mednext_cli.inference import settled
from mednext_cli.inference.predict import predict
from mednext_cli.inference.settled import find_settled
from mednext_cli.inference.specification import PredictResult, PredictSpec
from tests.inference.synthetic import save_model

IDS = ("anisotropic", "oblique", "swapped")


@pytest.fixture
def spec(scans: Path, tmp_path: Path) -> PredictSpec:
    """A call that was done."""
    model = save_model(tmp_path / "run" / "one.pt", 0)
    spec = PredictSpec(scans, (model,), tmp_path / "out", engine="torch", device="cpu", workers=0)
    assert predict(spec).made == IDS
    return spec


def test_the_same_call_is_done(spec: PredictSpec) -> None:
    before = {path: path.stat().st_mtime_ns for path in spec.out.rglob("*")}
    assert find_settled(spec).result == PredictResult(spec.out, (), IDS)
    some = replace(spec, cases=("oblique",), workers=2)
    assert find_settled(some).result == PredictResult(spec.out, (), ("oblique",))
    part = replace(spec, part=Part(2, 3))
    assert find_settled(part).result == PredictResult(spec.out, (), ("swapped",))
    assert {path: path.stat().st_mtime_ns for path in spec.out.rglob("*")} == before


def test_other_options_are_another_call(spec: PredictSpec, tmp_path: Path) -> None:
    other = save_model(tmp_path / "other" / "one.pt", 1)
    changes = (
        *({"overlap": 0.25}, {"mirror": True}, {"engine": "auto"}, {"precision": "bfloat16"}),
        *({"statistics": True}, {"split": True}, {"probabilities": True}, {"only": ("kidney",)}),
        *({"models": (other,)}, {"models": (*spec.models, other)}, {"weights": (2.0,)}),
        *({"force": True}, {"report": True}, {"postprocess": False}, {"uncertainty": True}),
    )
    for change in changes:
        assert find_settled(replace(spec, **change)).result is None, change


def _touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


OF_MODELS: dict[str, Callable[[PredictSpec], object]] = {
    "other weights": lambda spec: save_model(spec.models[0], 1),
    "touched": lambda spec: _touch(spec.models[0]),
    "post-processing": lambda spec: (spec.models[0].parent / "postprocessing.json").write_text(
        "{}"
    ),
}
OF_THE_FOLDER: dict[str, Callable[[PredictSpec], object]] = {
    "a label map is gone": lambda spec: (spec.out / "oblique.nii.gz").unlink(),
    "the record is gone": lambda spec: (spec.out / "predict.json").unlink(),
    "the record is damaged": lambda spec: (spec.out / "predict.json").write_text("{"),
    "a run was killed": lambda spec: _edit(spec, lambda one: one["again"].append("oblique")),
    "nobody noted the call": lambda spec: _edit(spec, lambda one: one["provenance"].pop("call")),
    "the note is damaged": lambda spec: _edit(
        spec, lambda one: one["provenance"]["call"].update(plan={})
    ),
    "the note is no note": lambda spec: _edit(spec, lambda one: one["provenance"].update(call=[])),
    "a scan is new": lambda spec: _copy(spec.images / "oblique.nii.gz", "fourth.nii.gz"),
}


def _copy(path: Path, name: str) -> None:
    path.with_name(name).write_bytes(path.read_bytes())


def _edit(spec: PredictSpec, change: Callable[[dict], object]) -> None:
    path = spec.out / "predict.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_changed_in_the_folder_is_looked_at_by_the_networks(spec: PredictSpec) -> None:
    kept = {path: path.read_bytes() for path in spec.out.iterdir()}
    for name, change in OF_THE_FOLDER.items():
        change(spec)
        assert find_settled(spec).result is None, name
        for path, content in kept.items():
            path.write_bytes(content)
    (spec.images / "fourth.nii.gz").unlink()
    assert find_settled(spec).result is not None


@pytest.mark.parametrize("change", OF_MODELS)
def test_a_model_that_changed_is_read(spec: PredictSpec, change: str) -> None:
    OF_MODELS[change](spec)
    assert find_settled(spec).result is None


def test_another_version_looks_again(spec: PredictSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "__version__", "99")
    assert find_settled(spec).result is None


def test_a_scan_that_changed_is_open(spec: PredictSpec) -> None:
    scan = spec.images / "oblique.nii.gz"
    scan.write_bytes((spec.images / "swapped.nii.gz").read_bytes())
    looked = find_settled(spec)
    assert looked.result is None
    assert looked.found is not None
    assert [case.id for case in looked.found.every] == list(IDS)


def test_the_command_imports_no_torch(spec: PredictSpec) -> None:
    command = ["predict", str(spec.images), "--model", str(spec.models[0]), "--out", str(spec.out)]
    options = ["--engine", "torch", "--device", "cpu"]
    code = """
import sys
from mednext_cli.app import main
code = main(sys.argv[1:])
print(code, *sorted({"torch", "pandas", "jinja2"} & set(sys.modules)))
"""
    for extra, expected in (([], "0"), (["--overlap", "0.25"], "2 ")):
        called = [sys.executable, "-c", code, *command, *options, *extra]
        done = subprocess.run(called, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1].startswith(expected)
        if not extra:
            assert done.stdout.splitlines() == [f"{spec.out}: 0 made, 3 kept", "0"]
