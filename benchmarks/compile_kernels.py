# ruff: noqa: ANN201, ANN401 - Triton has no types
"""Compile every kernel for GPUs that need not be there: registers, spills, shared memory, FFMA.

    python benchmarks/compile_kernels.py [--capability 80 90] [--kernels 5] [--out CSV | --check] \
        [--known CSV]

Triton compiles to PTX and its own ptxas to machine code without a device; its nvdisasm shows the
innermost loops, of whose instructions FFMA are the share that computes. A kernel that does not
compile, that spills registers, or that asks for more shared memory than GPUs of its compute
capability have, ends the run with exit code 1. Rows of the CSV that were not compiled stay. What a
table of before has from the same source by the same compiler need not be compiled again (--known).
"""

import argparse
import contextlib
import csv
import functools
import hashlib
import inspect
import io
import itertools
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mednext_cli.networks.mednext.kernels import (
    block_kernels,
    depthwise_kernels,
    shared_kernels,
    tiles,
    weight_gradient_kernels,
)
from mednext_cli.networks.mednext.kernels.limits import LIMITS, DeviceLimits

_TYPES = {"bf16": 2, "fp16": 2, "fp32": 4}
_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
_COLUMNS = ("kernel", "capability", "tile", "warps", "registers", "spilled", "shared_bytes")
_COLUMNS += ("source", "loop_instructions", "loop_ffma")
# Bytes a thread may spill (stores and loads) and still count as clean: float32 spills a few.
_NO_SPILL = 192


def compiled(kernel: Any, types: dict[str, str], values: dict[str, Any], warps: int, target: Any):
    """Compile one kernel; give the result, and what ptxas printed.

    Pointers and nothing else are said to be multiples of 16.
    """
    constants = {name: value for name, value in values.items() if name not in types}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    attributes = {
        (position,): [["tt.divisibility", 16]]
        for position, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    source = ASTSource(kernel, signature, constants, attributes)
    said = io.StringIO()
    with triton.knobs.nvidia.scope(), triton.knobs.compilation.scope():
        triton.knobs.nvidia.dump_ptxas_log = True
        triton.knobs.compilation.always_compile = True  # what is cached says nothing
        with contextlib.redirect_stdout(said):
            result = triton.compile(source, target=target, options={"num_warps": warps})
    return result, said.getvalue()


def registers(said: str) -> tuple[int, int]:
    """Registers a thread and spilled bytes, of what ptxas says."""
    used = int(re.search(r"Used (\d+) registers", said)[1])
    spilled = sum(int(number) for number in re.findall(r"(\d+) bytes spill", said))
    return used, spilled


def inner_loop(result: Any) -> tuple[int, int]:
    """Instructions of the longest innermost loop, and how many of them are FFMA."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(result.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [_TOOLS / "nvdisasm", "-c", file.name], capture_output=True, text=True, check=True
        ).stdout
    labels, loops, code = {}, [], []
    for line in said.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?);", line):
            code.append(found[1])
            target = re.search(r"BRA.*?(\.L_x_\d+)", found[1])
            if target and target[1] in labels and labels[target[1]] < len(code) - 1:
                loops.append(range(labels[target[1]], len(code)))
    inner = [a for a in loops if not any(b[0] in a and b[-1] in a for b in loops if b != a)]
    longest = max(inner, key=len, default=range(0))
    return len(longest), sum("FFMA" in code[i] for i in longest)


def _sizes(kernel: Any, pointers: dict[str, str]) -> dict[str, str]:
    upper = shared_kernels.SIZES
    return {**pointers, **{name: "i32" for name in kernel.arg_names if name in upper}}


def _variants(way: str) -> list[tuple[str, dict[str, bool]]]:
    """The forward's, plain and with moments, and the backward's, with what comes through them."""
    if way == "weight_gradient":
        return [("", {"TERMS": False}), ("+terms", {"TERMS": True})]
    if way == "strided_weight_gradient":
        return [
            ("", {"TERMS": False, "TRANSPOSED": False}),
            ("+terms", {"TERMS": True, "TRANSPOSED": False}),
            ("+transposed+terms", {"TERMS": True, "TRANSPOSED": True}),
        ]
    return [
        ("", {"BIAS": False, "MOMENTS": False, "TERMS": False}),
        ("+moments", {"BIAS": True, "MOMENTS": True, "TERMS": False}),
        ("+terms", {"BIAS": False, "MOMENTS": False, "TERMS": True}),
    ]


def depthwise_cases(kernels: list[int]):
    """(name, kernel, types, values, warps, tile) of the depthwise kernels at full resolution."""
    import triton.language as tl

    for size in kernels:
        for kind, itemsize in _TYPES.items():
            image, number = f"*{kind}", "*fp32"
            for way in ("march", "gather", "scatter", "weight_gradient", "strided_weight_gradient"):
                gradient = "gradient" in way
                module = weight_gradient_kernels if gradient else depthwise_kernels
                kernel = getattr(module, way)
                if way == "march":
                    tile = tiles.convolution_tile(size, 128, 32, itemsize)
                elif gradient:
                    tile = tiles.weight_gradient_tile(
                        size, 128, 32, itemsize, 2 if "strided" in way else 1
                    )
                else:
                    tile = tiles.strided_tile(64, 32, itemsize)
                values = {"K": size, "BW": tile.width, "BC": tile.channels}
                values |= {"VEC": tile.vector, "ACC": tl.float32}
                pointers = {"x_ptr": image, "w_ptr": number, "b_ptr": number, "y_ptr": image}
                pointers |= {"m_ptr": number, "g_ptr": image, "p_ptr": number}
                pointers |= {"z_ptr": image, "t_ptr": number}
                pointers = {k: v for k, v in pointers.items() if k in kernel.arg_names}
                for variant, more in _variants(way):
                    name = f"{way}{variant} k{size} {kind}"
                    shape = f"{tile.width} x {tile.channels}"
                    types = _sizes(kernel, pointers)
                    yield name, kernel, types, values | more, tile.warps, shape


def block_cases(limits: DeviceLimits):
    """The same of the fused block, for the channels of the network that it takes."""
    import triton.language as tl

    kinds = {"bf16": tl.bfloat16, "fp16": tl.float16, "fp32": tl.float32}
    for channels, ratio, out in ((32, 3, 32), (64, 4, 64), (128, 8, 128), (64, 4, 32)):
        for kind, itemsize in _TYPES.items():
            if not tiles.is_fused(channels, out, itemsize):
                continue
            hidden, image, number = ratio * channels, f"*{kind}", "*fp32"
            for way in ("forward", "input_gradient", "weight_gradient"):
                kernel = getattr(block_kernels, way)
                widths = (channels, hidden, out, itemsize)
                tile = tiles.block_tile(*widths)
                if way == "weight_gradient":
                    tile = tiles.block_weight_tile(*widths, limits)
                types = dict.fromkeys(("a_ptr", "s_ptr", "b1_ptr", "b2_ptr", "p_ptr"), number)
                types |= dict.fromkeys(
                    ("z_ptr", "w1_ptr", "w2_ptr", "r_ptr", "k_ptr", "y_ptr"), image
                )
                types |= {"g_ptr": image, "d_ptr": image}
                types |= dict.fromkeys(("S", "H", "W", "batch", "blocks", "splits"), "i32")
                types = {name: one for name, one in types.items() if name in kernel.arg_names}
                values = {"C": channels, "HIDDEN": hidden, "OUT": out, "RESIDUAL": True}
                padded = channels > out
                values |= {"SKIP": padded, "PADDED": padded}
                values |= {"GELU": "tanh" if itemsize == 2 else "erf"}
                values |= {"BM": tile.rows, "BC": channels, "BH": tile.hidden, "BO": out}
                values |= {"KIND": kinds[kind], "ACC": tl.float32}
                values = {name: one for name, one in values.items() if name in kernel.arg_names}
                name = f"block {way} {channels}-{hidden}-{out} {kind}"
                yield name, kernel, types, values, tile.warps, f"{tile.rows} x {tile.hidden}"


@functools.cache
def _sources() -> str:
    """The text of everything that is compiled, and of how it is."""
    files = sorted(Path(shared_kernels.__file__).parent.glob("*_kernels.py"))
    kernels = [path.read_text(encoding="utf-8") for path in files]
    here = [inspect.getsource(one) for one in (compiled, registers, inner_loop)]
    return "\0".join([triton.__version__, *kernels, *here])


def _source(case: Any, capability: int) -> str:
    """What the result depends on, as a number."""
    name, _, types, values, warps, _ = case
    chosen = [f"{key}={value}" for part in (types, values) for key, value in sorted(part.items())]
    told = "\0".join([_sources(), name, str(capability), str(warps), *chosen])
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _row(case: Any, capability: int, loops: bool) -> dict[str, Any]:
    name, kernel, types, values, warps, tile = case
    result, said = compiled(kernel, types, values, warps, GPUTarget("cuda", capability, 32))
    found = [*registers(said), result.metadata.shared, _source(case, capability)]
    found += inner_loop(result) if loops else ()
    columns = _COLUMNS if loops else _COLUMNS[:-2]
    return dict(zip(columns, (name, capability, tile, warps, *found), strict=True))


def _is_fine(row: dict[str, Any]) -> bool:
    fits = row["shared_bytes"] <= LIMITS[row["capability"]].shared_memory
    return fits and row["spilled"] <= _NO_SPILL


def _read(path: Path | None) -> dict[tuple[str, int], dict[str, Any]]:
    if path is None or not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = [
            {name: int(text) if text.isdecimal() and name != "source" else text
             for name, text in row.items()}
            for row in csv.DictReader(file)
        ]  # fmt: skip
    return {(row["kernel"], row["capability"]): row for row in rows}


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    merged = _read(path) | {(row["kernel"], row["capability"]): row for row in rows}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.values())


def main() -> int:
    """Compile, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=list(LIMITS), choices=LIMITS)
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5, 7])
    parser.add_argument("--only", default="", help="kernels whose name holds this")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--check",
        action="store_true",
        help="in less time, without looking at loops; writes no --out",
    )
    parser.add_argument(
        "--known", type=Path, help="a table of before, whose rows of the same source are taken"
    )
    options = parser.parse_args()
    if options.known and not options.known.is_file():
        parser.error(f"{options.known} does not exist")
    known = _read(options.known)
    if options.check and options.out:
        parser.error("--check has no loops for --out")
    rows = []
    for capability in options.capability:
        cases = itertools.chain(depthwise_cases(options.kernels), block_cases(LIMITS[capability]))
        for case in cases:
            if options.only not in case[0]:
                continue
            row = known.get((case[0], capability), {})
            if row.get("source") != _source(case, capability):
                row = _row(case, capability, loops=not options.check)
            rows.append(row)
            print(*(f"{name} {value}" for name, value in row.items()), sep=", ", flush=True)
            if options.out:
                _write([row], options.out)
    return int(not all(_is_fine(row) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
