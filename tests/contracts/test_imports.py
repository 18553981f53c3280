"""What is imported when: nothing heavy for help, downwards only, each module alone."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contracts.conftest import PACKAGE, ROOT

# Not pydantic, which Typer itself loads where it converts a value; TID253 keeps ours out of --help.
HEAVY = (
    "torch", "numpy", "pandas", "scipy", "nibabel", "h5py", "matplotlib", "hdf5plugin", "edt",
    "tensorboard", "jinja2", "pebble", "psutil",
)  # fmt: skip


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["plugins", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from mednext_cli.app import main; "
        f"code = main({arguments}); "
        f"print(code, *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["0"]


def test_help_of_a_command_does_without_pydantic() -> None:
    """Typer loads it to convert values, which takes longer than the rest of the help."""
    code = (
        "import sys; from mednext_cli.app import main; main(['train', '--help']); "
        "print('pydantic' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["False"]


@pytest.mark.slow
def test_work_begins_without_what_it_does_not_use() -> None:
    """torch.compile and Triton cost more than a second, pandas a quarter: who uses them pays."""
    code = (
        "import sys, mednext_cli.inference.predict, mednext_cli.evaluation.evaluate; "
        "print(*({'pandas'} & sys.modules.keys())); "
        "import mednext_cli.training.train; "
        "print(*({'torch._dynamo', 'triton'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_imports_run_downwards_only(root: Path) -> None:
    """The contract of pyproject.toml, as `make lint` checks it."""
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [tool, "--no-cache"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# Third-party libraries are imported once; each module of ours then where nothing of ours is loaded
# but what the module imports itself, unconditionally: in a fork of the process that has imported
# the largest part of that. Whatever order it loads them in, they load alone and without it (what
# is in a ring of imports begins from nothing), so this is as good as a fresh interpreter, at a
# hundredth of its time.
_IMPORT_ALONE = """
import gc, importlib, json, os, sys
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
assert not any(name.startswith("mednext_cli") for name in sys.modules)
after = json.load(sys.stdin)
gc.disable()

def follow(names):
    # The last of them here: nothing needs this process any more.
    for name in names:
        child = 0 if name == names[-1] else os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        try:
            assert name not in sys.modules, "it is imported by what it imports"
            importlib.import_module(name)
            print(f"{name}: imported", flush=True)
        except BaseException as error:
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        follow(after.get(name, ()))
        os._exit(0)

follow(after[""])
"""


_OTHERS = (
    "pydantic", "typer", "rich", "skimage", "safetensors.torch", "scipy.stats", "scipy.ndimage",
    "torch._dynamo", "matplotlib.pyplot", "filelock", "isal", "monai.networks.nets",
    "dynamic_network_architectures.architectures.unet",
)  # fmt: skip


def _modules() -> dict[str, Path]:
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    }
    assert len(modules) > 50
    return modules


def _imported(path: Path) -> set[str]:
    """What a file imports from start to end whatever happens: no condition, no function."""
    names: set[str] = set()
    for line in ast.parse(path.read_bytes()).body:
        if isinstance(line, ast.Import):
            names |= {one.name for one in line.names}
        elif isinstance(line, ast.ImportFrom):
            names |= {line.module or "", *(f"{line.module}.{one.name}" for one in line.names)}
    return names


def _after(modules: dict[str, Path]) -> dict[str, list[str]]:
    """What to import after each module, "" being the start: those that import it, once each."""
    direct = {name: _imported(path) & modules.keys() for name, path in modules.items()}
    below: dict[str, set[str]] = {}
    for name in modules:
        below[name], left = set(), [name]
        while left:
            new = direct[left.pop()] - below[name]
            below[name] |= new
            left += new
    after: dict[str, list[str]] = {}
    for name, path in modules.items():
        package = _imported(path.with_name("__init__.py")) & modules.keys()  # which comes first
        parts = () if package or name in below[name] else direct[name]
        most = max(sorted(parts), key=lambda part: len(below[part]), default="")
        after.setdefault(most, []).append(name)
    return after


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_module_imports_alone() -> None:
    preloaded = ",".join((*HEAVY, *_OTHERS))
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT_ALONE, preloaded]
    modules = _modules()
    plan = json.dumps(_after(modules))
    done = subprocess.run(
        command, cwd=ROOT, input=plan, capture_output=True, text=True, check=False
    )
    said = sorted(done.stdout.splitlines())
    assert said == sorted(f"{name}: imported" for name in modules), done.stdout + done.stderr


# The libraries first: on this system they may need what Windows lacks. Of ours, none may.
_IMPORT_AS_ON_WINDOWS = """
import importlib, sys
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
assert not any(name.startswith("mednext_cli") for name in sys.modules)
sys.modules.update(dict.fromkeys(("fcntl", "resource", "pwd", "grp")))
for name in sys.argv[2].split(","):
    try:
        importlib.import_module(name)
    except BaseException as error:
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
"""


@pytest.mark.slow
def test_every_module_imports_on_windows() -> None:
    preloaded = ",".join((*HEAVY, *_OTHERS))
    command = [sys.executable, "-W", "ignore", "-c", _IMPORT_AS_ON_WINDOWS, preloaded]
    command.append(",".join(_modules()))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
