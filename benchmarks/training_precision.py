"""bfloat16 against float32 after equal steps on MSD Task04: Dice of fold 0, two seeds each.

    OMP_NUM_THREADS=1 python benchmarks/training_precision.py .../Task04_Hippocampus

S with kernel 3 by the recipe `cpu`, whose learning rate falls to 0 over these epochs; 44 cases are
predicted whole, in float32 by all. What the precision changes is to be compared with what a seed
changes. On processors without instructions for bfloat16 it says how right it is, not how fast.
Writes training_precision.csv; the same command goes on where an interrupted one stopped.
"""

import argparse
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from baselines import Job, Run, read, write

from mednext_cli.foundation.devices import multiplies_bfloat16

RESULTS = Path(__file__).parent / "results"


class _Comparison(Job):
    def train(self, run: Run) -> dict[str, object]:
        """Train with the precision that the run's "network" is, and give its row."""
        settings = [
            *(f"training.epochs={self.options.epochs}", f"training.seed={run.seed}"),
            f'training.precision="{run.network}"',
        ]
        row = self.train_with(run, settings, "--recipe", "cpu", "--kernel", "3")
        [log] = (self.options.out / "runs" / run.name).glob("**/fold0/log.csv")
        seconds = [float(line["step_seconds"]) for line in read(log)]
        del row["training_minutes"], row["network"]
        return {
            "precision": run.network,
            **row,
            "epoch_step_seconds": round(statistics.median(seconds), 2),
            "bfloat16_instructions": "yes" if multiplies_bfloat16() else "no",
        }


def main() -> None:
    """Train what is not trained, and write the table."""
    options = _options()
    comparison = _Comparison(options)
    comparison.prepare()
    runs = [Run(precision, seed, 0.0) for seed in options.seeds for precision in options.networks]
    with ThreadPoolExecutor(options.side_by_side) as pool:
        rows = list(pool.map(comparison.measure, runs))
    options.results.mkdir(parents=True, exist_ok=True)
    write(options.results / "training_precision.csv", rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="bfloat16 against float32 after equal steps")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--out", type=Path, default=Path("training_precision"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--side-by-side", type=int, default=2)
    options = parser.parse_args()
    options.networks = ["float32", "bfloat16"]
    return options


if __name__ == "__main__":
    main()
