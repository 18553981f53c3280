"""Compile the C files of `networks/mednext/native/` while a wheel is built, or on its own.

hatchling calls it (pyproject.toml), for an editable installation as well; ``python
setup/build_native.py`` compiles again after a change. It needs a C compiler, GCC or Clang, which CC
may name. Without one the wheel holds Python alone, and PyTorch's operators do the work.
"""

import os
import platform
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # on its own, hatchling need not be there
    BuildHookInterface = object  # type: ignore[assignment, misc]

_FOLDER = Path(__file__).parents[1] / "mednext_cli" / "networks" / "mednext" / "native"
_SOURCES = sorted(_FOLDER.glob("*.c"))
_ALL = sorted(_FOLDER.glob("*.[ch]"))  # in the library by a number, by which an old one is known
_FLAGS = ["-O3", "-std=c11", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
_FLAGS += ["-shared", "-fPIC"]
# Values of a vector, and what tells a compiler; `native.library` takes what the processor has.
_X86 = {
    "16_bfloat16": (16, ["-mavx512f", "-mavx512bf16"]),  # rounds to bfloat16 in one instruction
    "16": (16, ["-mavx512f"]),
    "8": (8, ["-mavx2", "-mfma"]),
}
_OTHER: dict[str, tuple[int, list[str]]] = {"4": (4, [])}
_OPTIONAL = ("16_bfloat16",)  # older compilers do not know it; another of its width does as well
_SECONDS = 300


class NativeHook(BuildHookInterface):
    """Puts the compiled libraries into the wheel, and the platform into its name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a wheel without them is whole as well."""
        files, problem = build()
        if problem:
            self.app.display_warning(f"PyTorch's own operators will do the work: {problem}")
        if files and version != "editable":
            build_data["artifacts"] += [str(file.relative_to(self.root)) for file in files]
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"


def _platform() -> str:
    """What a wheel's name calls this one."""
    from packaging.tags import sys_tags  # comes with hatchling

    return next(sys_tags()).platform


def build() -> tuple[list[Path], str]:
    """The libraries for this kind of processor, and why there are none or fewer."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None or sys.platform == "win32":
        return [], "there is no C compiler, GCC or Clang"
    files, problems = list[Path](), dict[str, None]()
    stamp = f"-DSTAMP={zlib.crc32(b''.join(map(Path.read_bytes, _ALL)))}u"
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    for name, (lanes, flags) in (_X86 if x86 else _OTHER).items():
        target = _FOLDER / f"kernels_{name}.so"
        own = [*_FLAGS, *flags, f"-DLANES={lanes}", stamp]
        problem = _compile([*compiler.split(), *own], target)
        if not problem:
            files.append(target)
        elif name not in _OPTIONAL:
            problems[problem] = None
    return files, "; ".join(problems)


def _compile(command: list[str], target: Path) -> str:
    """Why it failed; empty where it did not. A process that has the old library keeps it."""
    beside = target.with_suffix(f".{os.getpid()}")
    try:
        subprocess.run(
            [*command, "-o", str(beside), *map(str, _SOURCES)],
            capture_output=True, text=True, timeout=_SECONDS, check=True,
        )  # fmt: skip
        beside.replace(target)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        return f"{command[0]}: {said[0]}"
    except (OSError, subprocess.SubprocessError) as error:
        return f"{command[0]}: {error}"
    return ""


if __name__ == "__main__":
    compiled, trouble = build()
    print(*(file.name for file in compiled), trouble)
    sys.exit(bool(trouble))
