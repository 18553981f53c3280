"""Fine-tuning: frozen parts stay, others move by rates of their own, and a run goes on so."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.settings.fine_tuning import FineTuningSettings
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training.optimiser import build_optimiser
from mednext_cli.training.precision import Precision
from mednext_cli.training.schedule import set_learning_rate
from tests.training.conftest import NAME, Train

PRECISION = Precision("float32", torch.device("cpu"))


def _network() -> nn.Module:
    parts = {"stem": nn.Linear(1, 2), "encoder": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])}
    return nn.ModuleDict({**parts, "heads": nn.Linear(2, 1)})


def _rates(freeze: tuple[str, ...], rates: dict[str, float], optimiser: str) -> dict[str, float]:
    """What each weight's rate is of 0.5; those that are missing are frozen."""
    network = _network()
    settings = TrainingSettings.model_validate({"optimiser": optimiser, "learning_rate": 0.5})
    fine_tuning = FineTuningSettings(freeze=freeze, rates=rates)
    built = build_optimiser(network, settings, PRECISION, fine_tuning)
    set_learning_rate(built, settings, 0.0)
    found = {id(one): group["lr"] for group in built.param_groups for one in group["params"]}
    named = network.named_parameters()
    assert all(one.requires_grad == (id(one) in found) for one in network.parameters())
    return {
        name: found[id(one)] for name, one in named if name.endswith("bias") and id(one) in found
    }


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_the_longest_name_decides(optimiser: str) -> None:
    assert _rates(("stem",), {"encoder": 0.1, "encoder.1": 0.5}, optimiser) == pytest.approx(
        {"encoder.0.bias": 0.05, "encoder.1.bias": 0.25, "heads.bias": 0.5}
    )
    assert _rates(("encoder",), {"encoder.1": 2.0}, optimiser) == pytest.approx(
        {"stem.bias": 0.5, "encoder.1.bias": 1.0, "heads.bias": 0.5}
    )


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        (("stem", "bottom"), "no part 'bottom'"),
        (("ste",), "no part 'ste'"),
        (("stem", "encoder", "heads"), "leaves nothing of the network to train"),
    ],
)
def test_parts_that_cannot_be_are_refused(freeze: tuple[str, ...], expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        _rates(freeze, {}, "adamw")


def test_a_part_is_frozen_or_has_a_rate() -> None:
    with pytest.raises(ValidationError, match="stem is frozen and has a rate"):
        FineTuningSettings(freeze=("stem",), rates={"stem": 0.5})


@pytest.mark.slow
def test_a_run_keeps_its_frozen_parts_and_goes_on(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ('fine_tuning.freeze=["stem", "encoder.0"]', "fine_tuning.rates={encoder=0.5}")
    first, second = tmp_path / "first", tmp_path / "second"
    assert train("--fold", "1", runs=first, settings=parts) == 2
    assert "the recipe's [fine_tuning] is of weights to begin with" in capsys.readouterr().err
    assert train("--fold", "1", runs=first) == 0
    begun = first / NAME / "S-k3-w4" / "fold1" / "checkpoint_last.pt"
    init = ("--fold", "1", "--init", str(begun))
    assert train(*init, runs=second, settings=parts) == 0
    ended = second / NAME / "S-k3-w4" / "fold1" / "checkpoint_last.pt"
    before, after = (load_checkpoint(path).state_dict for path in (begun, ended))
    for name, weights in before.items():
        frozen = name.startswith(("stem.", "encoder.0."))
        assert torch.equal(weights, after[name]) == frozen, name
    more = (*parts, "training.epochs=3")
    assert train("--fold", "1", "--extend", runs=second, settings=more) == 0
    assert load_checkpoint(ended).progress.epochs == 3
