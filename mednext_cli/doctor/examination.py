"""Is this installation sound? Versions, devices, and a few things that must work."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import platform, python_version
from typing import Literal

from mednext_cli.foundation.machine import GIB, free_memory_bytes, usable_cores

_PACKAGES = (
    "mednext",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "h5py",
    "hdf5plugin",
    "nibabel",
    "pydantic",
    "typer",
)
_LITTLE_MEMORY_GIB = 4.0
_SOUND_CUDNN = 91500


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: what was looked at.
        found: what it is, or what went wrong.
        status: "warning" is worth knowing, with "failed" something will not work.
    """

    what: str
    found: str
    status: Literal["ok", "warning", "failed"] = "ok"


def examine() -> list[Finding]:
    """Look at packages, machine and devices, and try what every command needs.

    Whatever is missing or broken is a finding, torch included.
    """
    return [
        Finding("python", f"{python_version()} on {platform()}"),
        *(_package(name) for name in _PACKAGES),
        Finding("cores", str(usable_cores())),
        _try("free memory", _memory),
        *_accelerators(),
        _try("hdf5 with Blosc2", _store_and_read),
        _try("network", _run_network),
        _try("compiled kernels", _kernels),
        _try("temporary folder", _write_temporary),
    ]


def _package(name: str) -> Finding:
    try:
        return Finding(name, str(version(name)))
    except PackageNotFoundError:
        return Finding(name, "not installed: pip install mednext", "failed")


def _memory() -> Finding:
    free = free_memory_bytes() / GIB
    return Finding(
        "free memory", f"{free:.1f} GiB", "ok" if free >= _LITTLE_MEMORY_GIB else "warning"
    )


def _accelerators() -> list[Finding]:
    try:
        import torch

        return [*_devices(), *_conv3d_warning(str(torch.__version__), _cudnn_version())]
    except Exception as error:  # not installed, or for another CUDA, glibc, processor
        return [_failed("torch loads", error)]


def _devices() -> Iterator[Finding]:
    import torch

    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        yield Finding(f"cuda:{index}", f"{about.name}, {about.total_memory / GIB:.1f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("mps", "available")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        yield Finding("accelerator", "none: everything runs on the CPU")


def _cudnn_version() -> int | None:
    import torch

    found = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return None if found is None else int(found)


def _conv3d_warning(torch_version: str, cudnn_version: int | None) -> Iterator[Finding]:
    """PyTorch 2.9 with cuDNN before 9.15 convolves bfloat16 volumes slowly, or wrongly.

    Source: pytorch issues 163539 (wrong results), 166122 (four times slower), 166643 (memory).
    """
    if cudnn_version is not None and torch_version.startswith("2.9."):
        major, rest = divmod(cudnn_version, 10_000)
        if cudnn_version < _SOUND_CUDNN:
            yield Finding(
                "bfloat16 convolutions",
                f"wrong or slow with torch {torch_version} and cuDNN {major}.{rest // 100} "
                "(pytorch issues 163539, 166122): update torch, or "
                "pip install 'nvidia-cudnn-cu12>=9.15'",
                "warning",
            )


def _try(what: str, check: Callable[[], str | Finding]) -> Finding:
    try:
        found = check()
    except Exception as error:
        return _failed(what, error)
    return found if isinstance(found, Finding) else Finding(what, found)


def _failed(what: str, error: Exception) -> Finding:
    reason = " ".join(str(error).split())
    return Finding(what, f"{type(error).__name__}: {reason}", "failed")


def _store_and_read() -> str:
    import h5py
    import hdf5plugin
    import numpy as np

    values = np.arange(4096, dtype=np.float16).reshape(16, 16, 16)
    with h5py.File("doctor.h5", "w", driver="core", backing_store=False) as file:
        file.create_dataset("image", data=values, chunks=(8, 8, 8), **hdf5plugin.Blosc2())
        if not np.array_equal(file["image"][:], values):
            raise ValueError("what is read is not what was written")
    return "written and read back"


def _run_network() -> str:
    import torch

    from mednext_cli.networks.building import build_plain
    from mednext_cli.networks.spec import describe_network

    spec = describe_network("mednext", 1, 2, base_channels=4)
    patch = spec.patch_rule.fit((1, 1, 1))
    logits = build_plain(spec)(torch.randn(1, 1, *patch))
    logits.sum().backward()
    if logits.shape != (1, 2, *patch) or not bool(logits.isfinite().all()):
        raise ValueError("wrong shape or values that are not finite")
    return "forward and backward"


def _kernels() -> str | Finding:
    """Prediction on a CPU is slower without them, and gives the same labels."""
    from mednext_cli.networks.mednext.native.library import libraries

    if found := libraries():
        return f"for vectors of {found[0].lanes} values"
    problem = "none for this processor: install from a clone with a C compiler, or take the wheel"
    return Finding("compiled kernels", problem, "warning")


def _write_temporary() -> str:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(b"0")
    return tempfile.gettempdir()
