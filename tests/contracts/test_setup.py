"""`make install`: the Pythons it takes, and the torch."""

import importlib.util
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.contracts.conftest import ROOT

_PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


@pytest.fixture
def install() -> ModuleType:
    return _script("install")


def _script(name: str) -> ModuleType:
    path = ROOT / "setup" / f"{name}.py"
    if not path.is_file():
        pytest.skip("no checkout around the tests")
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_package_and_makefile_name_the_same_pythons() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [text.rpartition(" ")[2] for text in project["classifiers"] if ":: 3." in text]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert named == _PYTHONS
    assert project["requires-python"] == f">={_PYTHONS[0]}"
    assert re.findall(r"python(3\.\d+)", makefile) == _PYTHONS[::-1]


def test_every_requirement_is_pinned_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    names = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("gpu", "offered", "expected"),
    [
        (False, {"2.13.0", "2.13.0+cpu"}, "torch==2.13.0+cpu"),
        (False, {"2.13.0"}, "torch==2.13.0"),
        (True, {"2.13.0", "2.13.0+cpu"}, "torch==2.13.0"),
    ],
)
def test_the_cpu_build_is_taken_without_a_gpu_where_it_is_offered(
    install: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    gpu: bool,
    offered: set[str],
    expected: str,
) -> None:
    monkeypatch.setattr(install, "_has_gpu", lambda: gpu)
    monkeypatch.setattr(install, "_offered_versions", lambda: offered)
    assert install._choose_torch("2.13.0") == expected


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        ("torch==2.13.0+cpu", "downloads about 0.8 GB, 0.2 of them for torch==2.13.0+cpu;"),
        ("wheels/torch.whl", "downloads about 0.6 GB and wheels/torch.whl;"),
        ("torch==2.13.0+cu130", "downloads about 0.6 GB and torch==2.13.0+cu130;"),
    ],
)
def test_what_it_will_download_is_said(install: ModuleType, torch: str, expected: str) -> None:
    assert expected in install._announce(torch)


def test_a_torch_that_was_asked_for_is_not_held_to_the_pins(install: ModuleType) -> None:
    pins = install._read_pins(without=("torch", "triton"))
    assert "numpy" in pins
    assert not {"torch", "triton"} & set(pins)


def test_libraries_of_the_baselines_are_pinned_and_bring_no_other_torch(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(install.subprocess, "run", run)
    monkeypatch.setattr(install.sys, "prefix", str(tmp_path))
    assert install.main() == 0
    (command,) = [command for command in commands if "--no-deps" in command]
    names = [re.split("[>=]", text)[0] for text in command[command.index("--no-deps") + 1 :]]
    assert names == ["monai", "einops", "dynamic-network-architectures"]
    assert set(names) <= install._read_pins(without=()).keys()


def test_a_package_is_built_without_a_compiler_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = _script("build_native")
    monkeypatch.setattr(script, "_FOLDER", tmp_path)
    for compiler, said in (("no-such-compiler", "No such file"), ("false", "exit code 1")):
        monkeypatch.setenv("CC", compiler)
        files, problem = script.build()
        assert not files
        assert problem.startswith(f"{compiler}: ")
        assert said in problem
    assert not list(tmp_path.iterdir())
