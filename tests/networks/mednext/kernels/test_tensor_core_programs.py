"""The tensor cores' programs: compiled where NVRTC is, kept, and made again when damaged."""

import csv
import importlib.util
from pathlib import Path

import pytest
import torch

from mednext_cli.networks.mednext.kernels.tensor_cores import compiling, cubins
from mednext_cli.networks.mednext.kernels.tensor_cores.availability import takes
from mednext_cli.networks.mednext.kernels.tensor_cores.compiling import Compiled
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import Variant

_BENCHMARKS = Path(__file__).parents[4] / "benchmarks"
_K5 = Variant(5, torch.bfloat16)


@pytest.fixture
def compilations(monkeypatch):
    """Stands in for the compiler: what it was asked for."""
    asked = []

    def compile_variant(variant, capability):
        asked.append((variant, capability))
        return Compiled(f"{variant.name} {capability}".encode(), "")

    monkeypatch.setattr(compiling, "compile_variant", compile_variant)
    monkeypatch.setattr(compiling, "version", lambda: "12.9")
    return asked


def test_a_program_is_compiled_once(compilations, tmp_path):
    first = cubins.cubin_of(_K5, (9, 0), tmp_path)
    assert first == cubins.cubin_of(_K5, (9, 0), tmp_path) == b"k5_bf16 (9, 0)"
    assert len(compilations) == 1


@pytest.mark.parametrize("change", ["capability", "size", "type", "compiler", "source"])
def test_what_it_depends_on_makes_another(change, compilations, tmp_path, monkeypatch):
    cubins.cubin_of(_K5, (9, 0), tmp_path)
    if change == "compiler":
        monkeypatch.setattr(compiling, "version", lambda: "13.0")
    if change == "source":
        monkeypatch.setattr(cubins, "digest", lambda *more: "0" * 64)
    variant = {"size": Variant(3, torch.bfloat16), "type": Variant(5, torch.float16)}
    capability = (8, 9) if change == "capability" else (9, 0)
    cubins.cubin_of(variant.get(change, _K5), capability, tmp_path)
    assert len(compilations) == 2


def test_a_damaged_file_is_made_again(compilations, tmp_path):
    made = cubins.cubin_of(_K5, (9, 0), tmp_path)
    (file,) = tmp_path.iterdir()
    for damaged in (b"", file.read_bytes()[:-1]):
        file.write_bytes(damaged)
        assert cubins.cubin_of(_K5, (9, 0), tmp_path) == made
    assert len(compilations) == 3
    assert cubins.cubin_of(_K5, (9, 0), tmp_path) == made
    assert len(compilations) == 3


def test_a_cache_that_takes_no_files_is_done_without(compilations, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    for number in (1, 2):
        assert cubins.cubin_of(_K5, (9, 0), tmp_path / "cache") == b"k5_bf16 (9, 0)"
        assert len(compilations) == number


def test_without_a_compiler_nothing_is_taken(monkeypatch):
    monkeypatch.setattr(compiling, "library", lambda: None)
    with pytest.raises(RuntimeError, match="NVRTC is not installed"):
        compiling.compile_variant(_K5, (9, 0))
    assert not takes(torch.device("cuda"), torch.bfloat16, 16, 5)


@pytest.mark.parametrize(
    ("dtype", "channels", "kernel", "capability", "taken"),
    [
        (torch.bfloat16, 32, 5, (9, 0), True),
        (torch.float16, 8, 7, (8, 0), True),
        (torch.float32, 32, 5, (9, 0), False),
        (torch.bfloat16, 36, 5, (9, 0), False),
        (torch.bfloat16, 32, 9, (9, 0), False),
        (torch.bfloat16, 32, 5, (7, 5), False),
    ],
)
def test_what_is_taken(dtype, channels, kernel, capability, taken, monkeypatch):
    monkeypatch.setattr(compiling, "library", lambda: object())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert takes(torch.device("cuda"), dtype, channels, kernel) == taken


def test_a_cpu_has_no_tensor_cores():
    assert not takes(torch.device("cpu"), torch.bfloat16, 32, 5)


def _script():
    path = _BENCHMARKS / "compile_tensor_cores.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_programs_of_size_5_compile_without_spills(capability, tmp_path):
    if compiling.library() is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    out = tmp_path / "registers.csv"
    assert (
        _script().main(["--capability", str(capability), "--kernels", "5", "--out", str(out)]) == 0
    )
    with (
        out.open() as found,
        (_BENCHMARKS / "results" / "tensor_core_registers.csv").open() as kept,
    ):
        committed = {(row["kernel"], row["capability"]): row for row in csv.DictReader(kept)}
        for row in csv.DictReader(found):
            other = committed[row["kernel"], row["capability"]]
            assert row["nvrtc"] != other["nvrtc"] or row == other


def test_a_source_that_does_not_compile_is_said_with_the_compilers_words(monkeypatch):
    if compiling.library() is None:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc-cu12")
    monkeypatch.setattr(compiling, "sources", lambda: {"depthwise.cu": "int x = y;"})
    with pytest.raises(RuntimeError, match='identifier "y" is undefined'):
        compiling.compile_variant(_K5, (9, 0))
