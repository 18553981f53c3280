"""The fused operators against the stock ones: parts of networks, training steps, inference.

    python benchmarks/kernels.py [--out benchmarks/results/kernels.csv] [--quick] [--only PART ...]
        [--networks NAME ...] [--operators fused|stock]
    python benchmarks/kernels.py --device cpu --tiny --out kernels.csv   # that the script works

Whatever is timed was compared before, at the same size, with float32 without TF32: outputs and
every gradient, of images whose mean is not zero and gradients like noise. What is off by more than
twice what stock PyTorch is in the same precision is named, not timed, and ends the run with exit
code 1.

Times are the device's alone: CUDA graphs, the second level cache emptied before each, candidates in
turns, median and half the distance between the quartiles, with the clocks at the end. Training
steps are as launched, so that the host's time is in them; those of a CUDA graph stand beside.
Beside each row stands the limit that the GPU's bandwidth and its arithmetic set, in float32 outside
products of matrices, by the data sheet.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from gpu_chains import chain_rows, depthwise_chains, stage_chains
from gpu_rows import COLUMNS, Place, Row, about
from gpu_steps import inference_rows, monai_rows, step_rows


def depthwise_rows(place: Place) -> Iterator[Row]:
    """One depthwise convolution."""
    return chain_rows(place, depthwise_chains(place))


def stage_rows(place: Place) -> Iterator[Row]:
    """Whole stages."""
    return chain_rows(place, stage_chains(place))


PARTS = {
    "depthwise": depthwise_rows,
    "stages": stage_rows,
    "steps": step_rows,
    "inference": inference_rows,
    "monai": monai_rows,
}


def main() -> int:
    """Check, time, print and write."""
    options = _options()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: there is no NVIDIA GPU here: add --device cpu --tiny.", file=sys.stderr)
        return 2
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    rounds = 1 if options.tiny else 3 if options.quick else 20
    device, networks = torch.device(options.device), tuple(options.networks)
    place = Place(device, options.tiny, rounds, rounds / 2, networks, options.operators)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        refused = 0
        for row in _rows(place, options.only):
            writer.writerow(row | about(place))
            file.flush()
            print(_line(row), flush=True)
            refused += bool(row.get("refused"))
    return 1 if refused else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/kernels.csv"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes that prove nothing")
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 20")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--networks", nargs="+", default=[], help="of the steps: L-k5 nnunet")
    parser.add_argument("--operators", choices=("fused", "stock"), default="", help="of the steps")
    return parser.parse_args()


def _rows(place: Place, parts: list[str]) -> Iterator[Row]:
    for part in parts:
        place.free()
        try:
            yield from PARTS[part](place)
        except torch.OutOfMemoryError as error:
            print(f"{part}: the rest is left out: {error}", file=sys.stderr)


def _line(row: Row) -> str:
    text = f"{row['row']:50} {row['way']:52} "
    if row.get("refused"):
        return f"{text}WRONG: {row['error_of']}, {row['times_stock_error']:.2g} x stock's error"
    limit, hours = row.get("limit_ms"), row.get("hours_1000_epochs")
    text += f"{row['milliseconds']:10.3f} ms +- {row['spread_ms']:.3f}"
    text += "" if limit is None else f", limit {limit:.3f}"
    return text if hours is None else f"{text}, {hours:.1f} h for 1,000 epochs"


if __name__ == "__main__":
    sys.exit(main())
