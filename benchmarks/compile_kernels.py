# ruff: noqa: ANN201, ANN401 - Triton has no types
"""Compile every kernel for a GPU that need not be there: registers, spills, shared memory.

    python benchmarks/compile_kernels.py [--capability 90] [--kernels 5] [--out registers.csv]

Triton compiles to PTX and its own ptxas to machine code without a device. A kernel that does not
compile, or that spills registers, ends the run with exit code 1.
"""

import argparse
import csv
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

_TYPES = {"bf16": 2, "fp16": 2, "fp32": 4}
_PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
# Bytes a thread may spill (stores and loads) and still count as clean: float32 spills a few.
_NO_SPILL = 192


def compiled(kernel: Any, types: dict[str, str], values: dict[str, Any], warps: int, target: Any):
    """Compile one kernel; pointers and nothing else are said to be multiples of 16."""
    constants = {name: value for name, value in values.items() if name not in types}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    attributes = {
        (position,): [["tt.divisibility", 16]]
        for position, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options={"num_warps": warps})


def registers(result: Any, capability: int) -> tuple[int, int]:
    """Registers a thread and spilled bytes, as ptxas says."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.ptx"
        file.write_text(result.asm["ptx"])
        name = f"sm_{capability}{'a' if capability == 90 else ''}"
        said = subprocess.run(
            [_PTXAS, "-v", f"--gpu-name={name}", file, "-o", Path(folder) / "kernel.cubin"],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    used = int(re.search(r"Used (\d+) registers", said)[1])
    spilled = sum(int(number) for number in re.findall(r"(\d+) bytes spill", said))
    return used, spilled


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
                    tile = tiles.weight_gradient_tile(size, 128, 32, itemsize)
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


def block_cases():
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
                choose = tiles.block_weight_tile if way[0] == "w" else tiles.block_tile
                tile = choose(channels, hidden, out, itemsize)
                types = dict.fromkeys(("a_ptr", "s_ptr", "b1_ptr", "b2_ptr", "p_ptr"), number)
                types |= dict.fromkeys(("z_ptr", "w1_ptr", "w2_ptr", "r_ptr", "y_ptr"), image)
                types |= {"g_ptr": image, "d_ptr": image}
                types |= dict.fromkeys(("S", "batch", "blocks", "splits"), "i32")
                types = {name: one for name, one in types.items() if name in kernel.arg_names}
                values = {"C": channels, "HIDDEN": hidden, "OUT": out, "RESIDUAL": True}
                values |= {"BM": tile.rows, "BC": channels, "BH": tile.hidden, "BO": out}
                values |= {"KIND": kinds[kind], "ACC": tl.float32}
                values = {name: one for name, one in values.items() if name in kernel.arg_names}
                name = f"block {way} {channels}-{hidden}-{out} {kind}"
                yield name, kernel, types, values, tile.warps, f"{tile.rows} x {tile.hidden}"


def main() -> int:
    """Compile, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capability", type=int, default=90)
    parser.add_argument("--kernels", type=int, nargs="+", default=[3, 5, 7])
    parser.add_argument("--only", default="", help="kernels whose name holds this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    target, rows, failed = GPUTarget("cuda", options.capability, 32), [], False
    cases = [*depthwise_cases(options.kernels), *block_cases()]
    for name, kernel, types, values, warps, tile in cases:
        if options.only not in name:
            continue
        result = compiled(kernel, types, values, warps, target)
        used, spilled = registers(result, options.capability)
        failed |= spilled > _NO_SPILL
        rows.append((name, tile, warps, used, spilled, result.metadata.shared))
        print(f"{name:40} {tile:12} {warps} warps {used:4} registers {spilled:5} spilled ", end="")
        print(f"{result.metadata.shared:7} bytes shared", flush=True)
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("kernel", "tile", "warps", "registers", "spilled", "shared_bytes"))
            writer.writerows(rows)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
