"""Compile the tensor cores' programs for GPUs that need not be there: registers and spills.

    python benchmarks/compile_tensor_cores.py [--capability 80 90] [--kernels 5] [--out FILE.csv]

NVRTC compiles without a device and without a toolkit; PyTorch's CUDA builds bring it, elsewhere
`pip install nvidia-cuda-nvrtc-cu12` does. A program that does not compile, or that spills more
than a few registers, ends the run with exit code 1.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mednext_cli.foundation.files import write_csv
from mednext_cli.networks.mednext.kernels.tensor_cores.compiling import compile_variant, version
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import (
    DTYPES,
    SHARED_BYTES,
    SIZES,
    Variant,
)

_CAPABILITIES = (80, 86, 89, 90)
# Bytes a thread may spill (stores and loads) and still count as clean, in a loop of more than a
# thousand instructions.
_NO_SPILL = 128
_SAID = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?(?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)
_HEADER = ("kernel", "capability", "threads", "registers", "spilled", "shared_bytes", "nvrtc")


def rows(variant: Variant, capability: int) -> Iterator[tuple[str | int, ...]]:
    """What the assembler says of each kernel of a program."""
    log = compile_variant(variant, divmod(capability, 10), verbose=True).log
    for said in sorted(_SAID.finditer(log), key=lambda found: found["name"]):
        walks = said["name"] != "moments_gradient"
        yield (
            f"{said['name']} {variant.name}",
            capability,
            variant.threads if walks else 256,
            int(said["registers"]),
            int(said["stores"]) + int(said["loads"]),
            SHARED_BYTES if walks else 0,
            version(),
        )


def main(arguments: list[str] | None = None) -> int:
    """Compile, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--capability", type=int, nargs="+", default=_CAPABILITIES)
    parser.add_argument("--kernels", type=int, nargs="+", default=SIZES)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    variants = [Variant(size, dtype) for size in options.kernels for dtype in DTYPES]
    found = []
    for capability in options.capability:
        for variant in variants:
            for row in rows(variant, capability):
                print("{:32} sm_{} {:4} threads {:4} registers {:4} spilled".format(*row[:5]))
                found.append(row)
    if options.out:
        write_csv(options.out, _HEADER, found)
    clean = all(row[4] <= _NO_SPILL for row in found)
    return int(not clean or len(found) != 4 * len(variants) * len(options.capability))


if __name__ == "__main__":
    sys.exit(main())
