"""The kernels compile for a GPU without one: in a process of its own, not interpreted."""

import csv
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mednext_cli.networks.mednext.kernels.limits import LIMITS

_SCRIPT = Path(__file__).parents[4] / "benchmarks" / "compile_kernels.py"
_TABLE = _SCRIPT.parent / "results" / "kernel_registers.csv"


def _compile(tmp_path, *options):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    return subprocess.run(
        [sys.executable, _SCRIPT, *options], env=environment, capture_output=True, text=True
    )


def _rows(path):
    with path.open() as file:
        return {(row["kernel"], int(row["capability"])): row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("capability", "only"),
    [("90", "k3 bf16"), ("80", "32-96-32 bf16"), ("89", "block weight_gradient 128-1024-128 bf16")],
)
def test_kernels_compile_as_the_table_says(capability, only, tmp_path):
    """As many registers, spills and FFMA as when the table was written, give or take a tenth."""
    out = tmp_path / "registers.csv"
    given = ("--kernels", "3", "--only", only, "--capability", capability, "--out", out)
    found = _compile(tmp_path, *given)
    assert found.returncode == 0, found.stdout + found.stderr
    table = _rows(_TABLE)
    rows = _rows(out)
    assert rows
    for key in rows.keys() & table.keys():
        new, old = rows[key], table[key]
        for column in ("registers", "shared_bytes", "loop_instructions"):
            assert int(new[column]) <= 1.1 * int(old[column]), (key, column)
        assert int(new["spilled"]) <= int(old["spilled"]), key
        # A kernel whose hidden channels are one tile has no loop.
        share = [
            int(row["loop_ffma"]) / max(int(row["loop_instructions"]), 1) for row in (new, old)
        ]
        assert share[0] >= 0.9 * share[1], key


def test_no_kernel_of_the_table_asks_for_more_than_its_gpus_have():
    rows = _rows(_TABLE)
    assert {capability for _, capability in rows} == set(LIMITS)
    for (name, capability), row in rows.items():
        assert int(row["shared_bytes"]) <= LIMITS[capability].shared_memory, name
        assert int(row["registers"]) <= 255, name


def test_a_kernel_past_the_limits_fails(monkeypatch):
    monkeypatch.syspath_prepend(str(_SCRIPT.parent))
    script = importlib.import_module("compile_kernels")
    fine = {"capability": 89, "shared_bytes": LIMITS[89].shared_memory, "spilled": 0}
    assert script._is_fine(fine)
    assert not script._is_fine({**fine, "shared_bytes": 104_448})
    assert not script._is_fine({**fine, "spilled": 1024})


@pytest.mark.slow
def test_all_kernels_compile(tmp_path):
    """Those that the table has not from the same source; a hundred take two minutes."""
    found = _compile(tmp_path, "--capability", "90", "--check", "--known", _TABLE)
    assert found.returncode == 0, found.stdout + found.stderr
    checked = {line.split(",")[0] for line in found.stdout.splitlines()}
    listed = {f"kernel {name}" for name, capability in _rows(_TABLE) if capability == 90}
    assert checked == listed  # rows of kernels that are gone are to be deleted


@pytest.mark.slow
@pytest.mark.parametrize("source", ["as it is", "another"])
def test_what_is_known_is_taken_and_what_has_another_source_compiled(source, tmp_path):
    known, row = tmp_path / "known.csv", _rows(_TABLE)["march k3 bf16", 90] | {"registers": 200}
    if source == "another":
        row["source"] = "0" * 16
    with known.open("w", newline="") as file:
        table = csv.DictWriter(file, list(row), lineterminator="\n")
        table.writeheader()
        table.writerow(row)
    only = ("--kernels", "3", "--only", "march k3 bf16", "--capability", "90", "--check")
    found = _compile(tmp_path, *only, "--known", known)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.startswith("kernel march k3 bf16, capability 90,")
    assert ("registers 200," in found.stdout) == (source == "as it is")
