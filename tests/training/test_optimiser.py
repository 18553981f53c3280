"""AdamW and SGD as a recipe has them: their steps written out, and their way through a file."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.recipes import load_recipe
from mednext_cli.settings.training import TrainingSettings
from mednext_cli.training import cuda_graph
from mednext_cli.training.optimiser import build_optimiser, count_kept, load_optimiser
from mednext_cli.training.precision import Precision
from tests.training.conftest import NAME, Train

CPU = torch.device("cpu")
RATE, DECAY, MOMENTUM = 0.1, 0.01, 0.9
SGD = TrainingSettings(optimiser="sgd", learning_rate=RATE, weight_decay=DECAY, momentum=MOMENTUM)
ADAMW = TrainingSettings(learning_rate=RATE, weight_decay=DECAY)


def _network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Conv3d(1, 2, 3)


def _gradients(count: int) -> list[list[Tensor]]:
    generator = torch.Generator().manual_seed(4)
    shapes = [weights.shape for weights in _network().parameters()]
    return [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(count)]


def _step(
    network: nn.Module, optimiser: torch.optim.Optimizer, gradients: list[Tensor], loss: float = 1.0
) -> None:
    for weights, gradient in zip(network.parameters(), gradients, strict=True):
        weights.grad = gradient.clone()
    Precision("float32", CPU).step(optimiser, torch.tensor(loss), torch.tensor(1.0))


def test_sgd_has_the_momentum_of_nesterov() -> None:
    network = _network()
    expected = [weights.detach().double() for weights in network.parameters()]
    velocity = [torch.zeros_like(weights) for weights in expected]
    optimiser = build_optimiser(network, SGD, Precision("float32", CPU))
    for gradients in _gradients(4):
        _step(network, optimiser, gradients)
        for number, gradient in enumerate(gradients):
            decayed = gradient.double() + DECAY * expected[number]
            velocity[number] = MOMENTUM * velocity[number] + decayed
            expected[number] -= RATE * (decayed + MOMENTUM * velocity[number])
    for weights, right in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(weights.detach().double(), right, rtol=1e-5, atol=1e-6)


def test_without_momentum_it_is_plain_descent() -> None:
    network, (gradients,) = _network(), _gradients(1)
    settings = TrainingSettings(optimiser="sgd", learning_rate=RATE, momentum=0.0, weight_decay=0.0)
    before = [weights.detach().clone() for weights in network.parameters()]
    _step(network, build_optimiser(network, settings, Precision("float32", CPU)), gradients)
    for weights, start, gradient in zip(network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weights.detach(), start - RATE * gradient)


@pytest.mark.parametrize("settings", [ADAMW, SGD])
def test_a_first_step_that_is_left_out_leaves_no_trace(settings: TrainingSettings) -> None:
    """Under float16 it usually is, until the loss is scaled as the gradients need it."""
    networks = [_network(), _network()]
    optimisers = [
        build_optimiser(network, settings, Precision("float32", CPU)) for network in networks
    ]
    _step(networks[0], optimisers[0], _gradients(2)[1], loss=float("nan"))
    for network, optimiser in zip(networks, optimisers, strict=True):
        _step(network, optimiser, _gradients(1)[0])
    for one, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(one, other)


def test_its_own_settings_stay_but_the_rate_is_the_files() -> None:
    network = _network()
    first, second = (build_optimiser(network, SGD, Precision("float32", CPU)) for _ in range(2))
    first.param_groups[0].update(lr=0.025, momentum=0.5)
    load_optimiser(second, "sgd", first.state_dict())
    assert second.param_groups[0]["lr"] == 0.025
    assert second.param_groups[0]["momentum"] == MOMENTUM


@pytest.mark.parametrize(
    "moment", [torch.zeros(3), torch.full((2, 1, 3, 3, 3), float("nan"))], ids=["shape", "value"]
)
def test_moments_that_do_not_fit_are_refused(moment: Tensor) -> None:
    network = _network()
    optimiser = build_optimiser(network, SGD, Precision("float32", CPU))
    saved = copy.deepcopy(optimiser.state_dict())
    saved["state"][0]["momentum_buffer"] = moment
    with pytest.raises(ValueError, match="does not fit"):
        load_optimiser(optimiser, "sgd", saved)


def test_moments_of_another_optimiser_are_refused() -> None:
    network = _network()
    adamw, sgd = (build_optimiser(network, one, Precision("float32", CPU)) for one in (ADAMW, SGD))
    _step(network, adamw, _gradients(1)[0])
    with pytest.raises(KeyError):
        load_optimiser(sgd, "sgd", adamw.state_dict())


def test_the_moments_counted_are_those_that_are_kept() -> None:
    network = _network()
    for settings in (ADAMW, SGD):
        optimiser = build_optimiser(network, settings, Precision("float32", CPU))
        _step(network, optimiser, _gradients(1)[0])
        weights = next(network.parameters())
        kept = [value for value in optimiser.state[weights].values() if value.ndim]
        assert len(kept) == count_kept(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("training.optimiser=sgd", "training.epsilon=1e-4"), "epsilon is AdamW's"),
        (("training.momentum=1.0",), "training.momentum = 1.0"),
        (("training.optimiser=adam",), "training.optimiser = 'adam'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        load_recipe("mednext", settings)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_run_of_sgd_that_was_stopped_ends_as_an_undisturbed_one(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = ("training.optimiser=sgd", "training.learning_rate=0.01")
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert train(runs=undisturbed, settings=settings) == 0
    update, steps = cuda_graph.update, SimpleNamespace(left=4)

    def stop(*arguments: Any) -> Tensor:
        steps.left -= 1
        if steps.left < 0:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(cuda_graph, "update", stop)
    assert (
        train("--set", "training.checkpoint_minutes=1e-9", runs=stopped, settings=settings) == 130
    )
    monkeypatch.undo()
    assert train(runs=stopped) == 2
    assert "training.optimiser: sgd -> adamw" in capsys.readouterr().err
    assert train(runs=stopped, settings=settings) == 0
    one, other = (
        load_checkpoint(runs / NAME / "S-k3-w4" / "fold0" / "checkpoint_last.pt")
        for runs in (undisturbed, stopped)
    )
    for name, weights in one.state_dict.items():
        assert torch.equal(weights, other.state_dict[name]), name
