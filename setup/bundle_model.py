"""Make a bundled model: weights in float16 and no optimiser; licence as the card says.

python setup/bundle_model.py runs/Task04_Hippocampus/S-k3-w16/foldall/checkpoint_last.pt \
    mednext_cli/models/hippocampus
"""

import argparse
import tomllib
from dataclasses import replace
from pathlib import Path

from mednext_cli.networks.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    """Read, round, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="checkpoint of the run")
    parser.add_argument("model", type=Path, help="folder in the package, with card.toml")
    options = parser.parse_args()
    trained = load_checkpoint(options.run)
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in trained.state_dict.items()
    }
    data = tomllib.loads((options.model / "card.toml").read_text("utf-8"))["data"]
    told = {"licence": data["licence"], "attribution": data["attribution"]}
    metadata = {**trained.metadata, **told}
    rounded = replace(trained, state_dict=weights, optimiser=None, metadata=metadata)
    save_checkpoint(options.model / "checkpoint_last.pt", rounded)


if __name__ == "__main__":
    main()
