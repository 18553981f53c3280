"""The form of the code: short files and functions, no prints below commands/, nothing private."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.contracts.conftest import ROOT, python_files

_FILE_LINES, _FUNCTION_LINES = 400, 60
_LONG_FILES: dict[str, str] = {}  # path: reason
_KERNELS = "mednext_cli/networks/mednext/kernels/depthwise_kernels.py"
_BLOCK_KERNELS = "mednext_cli/networks/mednext/kernels/block_kernels.py"
_WEIGHT_KERNELS = "mednext_cli/networks/mednext/kernels/weight_gradient_kernels.py"
_LONG_FUNCTIONS = {  # path:function: reason
    "mednext_cli/commands/evaluate.py:evaluate": "nine options; its body has 20 lines",
    "mednext_cli/commands/predict.py:predict": "27 options; its body has 37 lines",
    "mednext_cli/commands/experiment.py:experiment": "eleven options; its body has 24 lines",
    "mednext_cli/commands/scale_report.py:scale_report": "26 options; its body has 35 lines",
    "mednext_cli/commands/train.py:train": "fifteen options; its body has 27 lines",
    f"{_KERNELS}:march": "a GPU kernel: 20 to 23 arguments, one a line",
    f"{_KERNELS}:gather": "a GPU kernel: 20 to 23 arguments, one a line",
    f"{_BLOCK_KERNELS}:forward": "a GPU kernel: 24 arguments, one a line",
    f"{_BLOCK_KERNELS}:weight_gradient": "a GPU kernel: 23 arguments, one a line",
    f"{_WEIGHT_KERNELS}:weight_gradient": "a GPU kernel: 17 arguments, one a line",
    f"{_WEIGHT_KERNELS}:strided_weight_gradient": "a GPU kernel: 21 arguments, one a line",
    f"{_KERNELS}:scatter": "a GPU kernel: 20 to 23 arguments, one a line",
}


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{_name(path)}:{node.name}", node.end_lineno - node.lineno + 1


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_files_are_short() -> None:
    files = python_files("mednext_cli", "tests", "benchmarks", "docs")
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = {name for name, lines in lengths.items() if lines > _FILE_LINES}
    assert long == set(_LONG_FILES)


def test_functions_are_short() -> None:
    lengths = dict(pair for path in python_files("mednext_cli") for pair in _functions(path))
    long = {name: lines for name, lines in lengths.items() if lines > _FUNCTION_LINES}
    assert set(long) == set(_LONG_FUNCTIONS), long


def test_only_commands_print() -> None:
    printing = [
        f"{_name(path)}:{node.lineno}"
        for path in python_files("mednext_cli")
        if "commands" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    ]
    assert printing == []


def test_nothing_names_the_machine_it_was_written_on() -> None:
    private = ["/" + "work/", "/" + "tmp/w", "/" + "root/", "/" + "home/"]
    folders = ("mednext_cli", "tests", "recipes", "benchmarks", "docs", ".ci")
    suffixes = {".py", ".md", ".toml", ".txt", ".csv", ".yaml", ".cff", ".html", ""}
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    files += [path for path in ROOT.glob("*") if path.name != ".git"]  # a file in a work tree
    found = [
        f"{_name(path)}: {text}"
        for path in files
        if path.is_file() and path.suffix in suffixes and "__pycache__" not in path.parts
        for text in private
        if text in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


def test_no_unfinished_business() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X:")
    found = [
        f"{_name(path)}: {mark}"
        for path in python_files("mednext_cli", "benchmarks", "docs")
        for mark in marks
        if mark in path.read_text(encoding="utf-8")
    ]
    assert found == []
