"""Dice against minutes of one core on MSD Task04: ours with the recipe `cpu`, and nnU-Net 2.8.1.

    make peers
    python benchmarks/training_curve.py .../Task04_Hippocampus --peers .venv-peers/bin

Every point is a training of its own whose learning rate falls to 0 over those minutes, on fold 0
(176 cases train, 44 are predicted whole), one seed, one thread. Minutes are of processor time spent
in steps, so that other work on the machine takes nothing from either side. nnU-Net has its own
plan, network, loss and augmentation. Writes training_curve.csv and training_curve.png; the same
command goes on where an interrupted one stopped.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from baselines import PEER, Job, Run, write

RESULTS = Path(__file__).parent / "results"
_OURS = "mednext"


@dataclass(frozen=True)
class _Point(Run):
    @property
    def name(self) -> str:
        """Of its folders."""
        return f"{self.network}_{self.minutes:g}"


class _Curve(Job):
    def train(self, run: Run) -> dict[str, object]:
        """Train S with kernel 3 by the recipe `cpu`, as it is but for its end."""
        settings = [f"training.minutes={run.minutes}", f"training.seed={run.seed}"]
        return self.train_with(run, settings, "--recipe", "cpu", "--kernel", "3")


def main() -> None:
    """Train what is not trained, longest first, and write the table and the plot."""
    options = _options()
    curve = _Curve(options)
    curve.prepare()
    minutes = sorted(options.minutes, reverse=True)
    points = [_Point(name, 0, each) for each in minutes for name in options.networks]
    with ThreadPoolExecutor(options.side_by_side) as pool:
        rows = list(pool.map(curve.measure, points))
    rows.sort(key=lambda row: (str(row["network"]), float(str(row["training_minutes"]))))
    options.results.mkdir(parents=True, exist_ok=True)
    write(options.results / "training_curve.csv", rows)
    _plot(rows, options.results / "training_curve.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Dice against minutes")
    parser.add_argument("data", type=Path, help="Task04_Hippocampus as downloaded")
    parser.add_argument("--out", type=Path, default=Path("curve"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--peers", type=Path, required=True, help="bin of the peers' environment")
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 6, 12, 25])
    networks = [PEER, _OURS]
    parser.add_argument("--networks", nargs="+", default=networks, choices=networks)
    parser.add_argument("--side-by-side", type=int, default=2)
    return parser.parse_args()


def _plot(rows: list[dict[str, object]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    names = {_OURS: "MedNeXt S k3, recipe cpu", PEER: "nnU-Net 2.8.1, its own plan"}
    for network, name in names.items():
        points = [
            (float(str(row["training_minutes"])), float(str(row["dice_mean"])))
            for row in rows
            if row["network"] == network
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
            for x, y in points:
                axes.annotate(f"{y:.3f}", (x, y), (0, 6), textcoords="offset points", ha="center")
    axes.set(xlabel="minutes of one core", ylabel="mean Dice, 44 whole cases", ylim=(-0.03, 1))
    axes.set_title("MSD Task04 hippocampus, fold 0")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    FigureCanvasAgg(figure).print_png(path)


if __name__ == "__main__":
    main()
