"""Fill the environment that runs this with pinned versions; says first how much it downloads.

``make install`` calls it. torch comes first: without a GPU the CPU build, where the package index
offers one, since the usual build on Linux brings 2.7 GB of CUDA. TORCH in the environment, a
requirement as pip reads it (``torch``, ``torch==2.13.0+cpu``, a wheel's path), overrides that and
the pins of torch and Triton.

The libraries of the baseline networks come without what they ask for: that is a torchvision, which
asks for one torch alone, and nothing that is used here needs it.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]
# Wheels for Linux on x86-64 as constraints.txt pins them, GB; other systems need less.
_CPU_GB, _CUDA_GB, _REST_GB = 0.2, 2.7, 0.6
_PIP = [sys.executable, "-m", "pip"]


def main() -> int:
    """Choose a torch, say what it takes, install it and then the rest."""
    asked = os.environ.get("TORCH", "")
    pins = _read_pins(without=("torch", "triton") if asked else ())
    torch = asked or _choose_torch(pins["torch"])
    print(_announce(torch), flush=True)
    constraints = Path(sys.prefix) / "constraints.txt"
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()))
    for what in (
        [torch],
        ["--editable", f"{_ROOT}[dev]"],
        ["--no-deps", *_read_extra("baselines")],
    ):
        command = [*_PIP, "install", "--quiet", "--constraint", str(constraints), *what]
        done = subprocess.run(command, check=False)
        if done.returncode:
            return done.returncode
    return 0


def _read_pins(without: tuple[str, ...]) -> dict[str, str]:
    lines = (_ROOT / "constraints.txt").read_text().split()
    pins = dict(line.split("==") for line in lines)
    return {name: version for name, version in pins.items() if name not in without}


def _read_extra(name: str) -> list[str]:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    return list(project["optional-dependencies"][name])


def _choose_torch(version: str) -> str:
    """The CPU build where there is no GPU and one is offered, else the index's own."""
    cpu_build = f"{version}+cpu"
    if not _has_gpu() and cpu_build in _offered_versions():
        return f"torch=={cpu_build}"
    return f"torch=={version}"


def _has_gpu() -> bool:
    """Whether NVIDIA's or AMD's driver finds a device."""
    smi = shutil.which("nvidia-smi")
    found = smi and subprocess.run([smi, "-L"], capture_output=True, check=False).stdout.strip()
    return bool(found) or Path("/dev/kfd").exists()


def _offered_versions() -> set[str]:
    """Versions of torch for this Python; empty where pip cannot tell."""
    command = [*_PIP, "index", "versions", "torch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(done.stdout.replace(",", " ").split())


def _announce(torch: str) -> str:
    size = _torch_gb(torch)
    known = f"about {_REST_GB + size:.1f} GB, {size} of them for {torch}" if size else ""
    return (
        f"make install downloads {known or f'about {_REST_GB} GB and {torch}'}; what pip has "
        "cached is not fetched again. Another build: make install TORCH=... (README.md)"
    )


def _torch_gb(torch: str) -> float | None:
    """Of torch with what it needs; None where that is not known."""
    if torch.endswith("+cpu"):
        return _CPU_GB
    if "+" in torch or not torch.startswith("torch"):
        return None
    return _CUDA_GB if sys.platform == "linux" else _CPU_GB


if __name__ == "__main__":
    sys.exit(main())
