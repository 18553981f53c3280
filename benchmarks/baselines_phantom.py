"""Every network on made-up CTs until its Dice of kidneys with tumours passes 0.5.

    python benchmarks/baselines_phantom.py --out baselines_phantom

Eight cases of `mednext phantom`, prepared at 3 mm, fold 0 (two cases validate), one thread, one run
after the other. A network has 4 minutes of the processor in steps, or as many as `--minutes` says;
one that does not pass is trained anew with twice as many, up to `--most-minutes`. Widths are those
of `baselines.py`; rates of AdamW are higher than published, as there are few steps. The same
command goes on where an interrupted one stopped.
"""

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

from baselines import NETWORKS, PROCESSOR_MINUTES, read, run_mednext, write

_NAME, _BAR = "kits19", 0.5
_SLICES = (  # of a network that baselines.py leaves out, since its patches are not those of all
    "transunet_2d.base_channels=32",
    "transunet_2d.resnet_blocks=[1, 1, 1]",
    "transunet_2d.vit_layers=2",
    "transunet_2d.vit_width=96",
    "transunet_2d.vit_mlp_width=192",
    "transunet_2d.vit_heads=4",
    "transunet_2d.decoder_channels=[32, 16, 16, 8]",
)
_ALL = {**NETWORKS, "transunet_2d": _SLICES}
_RATES = {
    **dict.fromkeys(("mednext", "uxnet"), 2e-3),
    **dict.fromkeys(("unetr", "swin_unetr", "nnformer", "transbts", "transunet_2d"), 1e-3),
}
_FOR_ALL = (
    "training.workers=0",
    "training.iterations_per_epoch=40",
    "training.validation_iterations=2",
    "training.oversample_foreground=0.66",
    "inference.mirror=false",
    "inference.overlap=0.25",
)


def main() -> None:
    """Train what is not trained, and write the table after each network."""
    options = _options()
    cache = _prepared(options.out)
    rows: list[dict[str, object]] = []
    for network in options.networks:
        rows.append(_row_of(network, cache, options))
        print(rows[-1], flush=True)
        write(options.out / "baselines_phantom.csv", rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="every network on made-up CTs")
    parser.add_argument("--out", type=Path, default=Path("baselines_phantom"))
    parser.add_argument("--networks", nargs="+", choices=sorted(_ALL), default=list(_ALL))
    parser.add_argument("--minutes", type=float, default=4.0, help="of steps, of the first try")
    parser.add_argument("--most-minutes", type=float, default=16.0)
    return parser.parse_args()


def _prepared(out: Path) -> Path:
    """The folder of the cache; what is there already stays."""
    run_mednext("phantom", out / "raw", "--cases", 8, "--seed", 0)
    cache = out / "cache"
    spacing = ("--dataset", _NAME, "--spacing", "3.0")
    run_mednext("preprocess", out / "raw", *spacing, "--cache", cache)
    return cache


def _row_of(network: str, cache: Path, options: argparse.Namespace) -> dict[str, object]:
    """Of the first try that passes, or of the last."""
    minutes = options.minutes
    while True:
        row = _tried(network, minutes, cache, options.out)
        if float(str(row["dice"])) > _BAR or 2 * minutes > options.most_minutes:
            return row
        minutes *= 2


def _tried(network: str, minutes: float, cache: Path, out: Path) -> dict[str, object]:
    """Trained for so many minutes, unless that is done."""
    done = out / "rows" / f"{network}_{minutes:g}.json"
    if not done.exists():
        done.parent.mkdir(exist_ok=True)
        done.write_text(json.dumps(_train(network, minutes, cache, out)))
    return dict(json.loads(done.read_text()))


def _train(network: str, minutes: float, cache: Path, out: Path) -> dict[str, object]:
    settings = _settings(network, minutes)
    runs, begin = out / "runs" / f"{network}_{minutes:g}", time.monotonic()
    words: list[object] = ["train", _NAME, "--cache", cache, "--network", network, "--runs", runs]
    words += [word for setting in settings for word in ("--set", setting)]
    run_mednext(*words, program=PROCESSOR_MINUTES)
    [folder] = runs.glob(f"{_NAME}/*/fold0")
    summary = read(folder / "validation" / "summary.csv")
    dice = {row["region"]: float(row["mean"]) for row in summary if row["metric"] == "dice"}
    return {
        "network": network,
        "dice": round(dice["kidney_and_tumour"], 4),
        "dice_tumour": round(dice["tumour"], 4),
        "steps": int(read(folder / "log.csv")[-1]["iteration"]),
        "training_minutes": minutes,
        "clock": "processor",
        "minutes_in_all": round((time.monotonic() - begin) / 60, 1),
        "settings": " ".join(settings),
        "mednext": version("mednext"),
        "torch": version("torch"),
        "machine": f"{platform.machine()}, 1 thread",
    }


def _settings(network: str, minutes: float) -> tuple[str, ...]:
    slices = network == "transunet_2d"
    return (
        *(f"model.{setting}" for setting in _ALL[network]),
        f"training.minutes={minutes:g}",
        f"training.patch_voxels={'[1, 64, 64]' if slices else '[32, 64, 32]'}",
        f"training.batch_size={16 if slices else 2}",
        *_FOR_ALL,
        *([f"training.learning_rate={_RATES[network]:g}"] if network in _RATES else []),
    )


if __name__ == "__main__":
    main()
