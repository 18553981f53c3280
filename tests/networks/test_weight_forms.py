"""Published weights in the forms that people save them in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mednext_cli.app import main
from mednext_cli.networks.checkpoint import build_plain, load_checkpoint
from mednext_cli.networks.mednext.official import to_official
from tests.networks.made import mednext

WEIGHTS = to_official(
    mednext("S", 3, 1, 2, base_channels=4).settings,
    build_plain(mednext("S", 3, 1, 2, base_channels=4)).state_dict(),
)


def renamed(prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in WEIGHTS.items()}


FORMS: dict[str, Any] = {
    "bare": WEIGHTS,
    "nnU-Net v2": {"network_weights": WEIGHTS, "current_epoch": 3, "_best_ema": np.float32(0.5)},
    "nnU-Net v1": {
        "state_dict": WEIGHTS,
        "epoch": 3,
        "plot_stuff": ([np.float64(0.5)], [np.float32(1)], [], [np.int64(3)]),
        "best_stuff": (np.float64(0.1), None, np.bool_(True)),
        "lr_scheduler_state_dict": None,
    },
    "model": {"model": WEIGHTS},
    "model_state_dict": {"model_state_dict": WEIGHTS, "epoch": 3},
    "net": {"net": WEIGHTS},
    "nested": {"model": {"state_dict": renamed("module.")}},
    "DistributedDataParallel": {"state_dict": renamed("module.")},
    "compiled": {"network_weights": renamed("_orig_mod.")},
    "both": {"network_weights": renamed("module._orig_mod.")},
    "both, the other way": renamed("_orig_mod.module."),
    "wrapped": {"state_dict": renamed("model.")},
    "wrapped twice": {"state_dict": renamed("model.module.model.")},
    "parameters": {name: torch.nn.Parameter(value) for name, value in WEIGHTS.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_they_are_imported(tmp_path: Path, form: str) -> None:
    path, out = tmp_path / "weights.model", tmp_path / "out.pt"
    torch.save(FORMS[form], path)
    assert main(["weights", "import", str(path), "--out", str(out)]) == 0
    made = load_checkpoint(out)
    official = to_official(made.network.settings, made.state_dict)
    assert official.keys() == WEIGHTS.keys()
    assert all(torch.equal(official[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({**WEIGHTS, **renamed("module.")}, "the same weights twice"),
        ({"model": {"model": {}}}, "holds no tensors"),
        ({"state_dict": 3}, "holds no tensors"),
        ([1, 2], "holds no state_dict"),
        ({**WEIGHTS, "stem.weight": WEIGHTS["stem.weight"].int()}, "of type int32, not floating"),
        ({**WEIGHTS, "stem.bias": WEIGHTS["stem.bias"] / 0}, "not finite"),
    ],
)
def test_what_is_no_network_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, says: str
) -> None:
    path, out = tmp_path / "weights.pth", tmp_path / "out.pt"
    torch.save(content, path)
    assert main(["weights", "import", str(path), "--out", str(out)]) == 2
    assert says in capsys.readouterr().err
    assert not out.exists()
