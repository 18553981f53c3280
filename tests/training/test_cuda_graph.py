"""Steps as a graph: the numbers of steps without one, and where there is none."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from mednext_cli.networks.checkpoint import load_checkpoint
from mednext_cli.networks.mednext.cpu import left_to_pytorch
from mednext_cli.networks.registry import find_family
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training import cuda_graph
from mednext_cli.training.cuda_graph import CapturedStep, choose_step
from mednext_cli.training.distributed import ALONE, SingleProcess
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.optimiser import build_optimiser, load_optimiser
from mednext_cli.training.precision import Precision
from mednext_cli.training.schedule import set_learning_rate
from mednext_cli.training.state import TrainingState
from mednext_cli.training.step import update
from tests.training.recorded_graph import RecordedGraph

CPU = torch.device("cpu")
REHEARSALS = 3
Train = Callable[..., int]


class _Network(nn.Module):
    """Two heads, a norm with averages of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=1, bias=False), nn.BatchNorm3d(4), nn.GELU()
        )
        self.head = nn.Conv3d(4, 3, 1)

    def forward(self, images: Tensor, deep_supervision: bool = False) -> Any:
        logits = self.head(self.layers(images))
        return [logits, logits[..., ::2, ::2, ::2]] if deep_supervision else logits


def _state(device: torch.device = CPU, **training: object) -> TrainingState:
    torch.manual_seed(4)
    values = {"precision": "float32", "gradient_clip": 0.1, **training}
    model: dict[str, Any] = {"checkpointing": False}
    recipe = Recipe.model_validate({"model": model, "training": values})
    network, precision = _Network().to(device), Precision("float32", device)
    state = SimpleNamespace(
        network=network,
        spec=SimpleNamespace(deep_supervision=True, family=find_family("mednext")),
        optimiser=build_optimiser(network, recipe.training, precision),
        precision=precision,
        recipe=recipe,
        processes=ALONE,
        parallel=None,
        checkpointing=False,
    )
    return cast(TrainingState, state)


def _batch(step: int, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(2, 1, 4, 6, 4, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 6, 4), generator=generator)
    return images.to(device), labels.to(device)


def _take(state: TrainingState, step: cuda_graph.Step, numbers: range) -> list[list[float]]:
    device = next(state.network.parameters()).device
    results = []
    for number in numbers:
        set_learning_rate(state.optimiser, state.recipe.training, number / 10)
        results.append(step(*_batch(number, device)))
    return torch.stack(results).tolist()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_replayed_steps_are_the_steps(optimiser: str) -> None:
    """Other batches, falling rates, clipped gradients: loss, norm and weights stay the same."""
    plain, captured = _state(optimiser=optimiser), _state(optimiser=optimiser)
    loss, graph = SegmentationLoss(), RecordedGraph()
    expected = _take(plain, partial(update, plain, loss), range(7))
    step = CapturedStep(captured.optimiser, partial(update, captured, loss), graph)
    found = _take(captured, step, range(7))
    assert graph.replays == 7 - REHEARSALS
    assert max(norm for _, norm in expected) > 0.1  # clipping is seen
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    pairs = zip(captured.network.parameters(), plain.network.parameters(), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_replayed_step_that_is_not_finite_is_left_out() -> None:
    state, loss = _state(), SegmentationLoss()
    step = CapturedStep(state.optimiser, partial(update, state, loss), RecordedGraph())
    _take(state, step, range(REHEARSALS + 1))
    before = [one.clone() for one in state.network.parameters()]
    images, labels = _batch(9)
    images[0, 0, 0, 0, 0] = torch.nan
    assert not step(images, labels).isfinite().any()
    assert all(map(torch.equal, before, state.network.parameters()))
    assert step(*_batch(9)).isfinite().all()
    assert not torch.equal(before[0], next(state.network.parameters()))


def test_the_optimiser_looks_as_if_there_were_no_graph() -> None:
    """Rates stay numbers, so that checkpoints go from runs with a graph to runs without."""
    state, loss = _state(), SegmentationLoss()
    before = {**state.optimiser.param_groups[0], "params": None, "lr": None}
    step = CapturedStep(state.optimiser, partial(update, state, loss), RecordedGraph())
    _take(state, step, range(REHEARSALS + 2))
    group = state.optimiser.param_groups[0]
    assert {**group, "params": None, "lr": None} == before
    assert type(group["lr"]) is float
    assert {float(kept["step"]) for kept in state.optimiser.state.values()} == {REHEARSALS + 2}


def test_a_run_goes_on_from_a_checkpoint_of_a_graph() -> None:
    loss, states = SegmentationLoss(), [_state() for _ in range(3)]
    plain, first, second = states
    steps = [
        CapturedStep(one.optimiser, partial(update, one, loss), RecordedGraph())
        for one in (first, second)
    ]
    expected = _take(plain, partial(update, plain, loss), range(10))[5:]
    _take(first, steps[0], range(5))
    second.network.load_state_dict(first.network.state_dict())
    load_optimiser(second.optimiser, "adamw", first.optimiser.state_dict())
    torch.testing.assert_close(
        _take(second, steps[1], range(5, 10)), expected, rtol=1e-4, atol=1e-5
    )


def test_another_shape_is_a_step_without_a_graph() -> None:
    state, loss, graph = _state(), SegmentationLoss(), RecordedGraph()
    step = CapturedStep(state.optimiser, partial(update, state, loss), graph)
    _take(state, step, range(REHEARSALS + 1))
    images, labels = _batch(5)
    before = [one.clone() for one in state.network.parameters()]
    assert step(images[:1], labels[:1]).isfinite().all()
    assert not torch.equal(before[0], next(state.network.parameters()))
    assert graph.replays == 1


def test_what_waits_for_the_device_is_told_and_goes_on_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state, loss = _state(), SegmentationLoss()

    def waits(images: Tensor, labels: Tensor) -> Tensor:
        result = update(state, loss, images, labels)
        assert result[0].item() < 10
        return result

    step = CapturedStep(state.optimiser, waits, RecordedGraph())
    plain = _state()
    expected = _take(plain, partial(update, plain, loss), range(6))
    torch.testing.assert_close(_take(state, step, range(6)), expected, rtol=1e-4, atol=1e-5)
    (line,) = [record.message for record in caplog.records]
    assert "without a CUDA graph: operation not permitted when stream is capturing" in line


@pytest.mark.parametrize(("wish", "lines"), [(True, 1), ("auto", 0), (False, 0)])
def test_a_cpu_has_no_graphs(wish: object, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    state = _state(cuda_graph=wish)
    step = choose_step(state, SegmentationLoss())
    assert not isinstance(step, CapturedStep)
    told = [record for record in caplog.records if "cpu has none" in record.message]
    assert len(told) == len(caplog.records) == lines


class _OnCuda(nn.Module):
    """A network whose weights say that they are on a GPU."""

    def parameters(self, recurse: bool = True):  # type: ignore[no-untyped-def]
        yield type("Weight", (), {"device": torch.device("cuda")})()


@pytest.mark.parametrize(
    ("network", "wish", "captured"),
    [("mednext", "auto", True), ("unetr", "auto", False), ("unetr", True, True)],
)
def test_left_to_us_only_mednext_is_captured(
    network: str, wish: object, captured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graph, "CudaGraph", lambda _: RecordedGraph())
    state = _state()
    values = {"model": {"network": network}, "training": {"cuda_graph": wish}}
    state.recipe, state.network = Recipe.model_validate(values), _OnCuda()
    state.spec = cast(NetworkSpec, SimpleNamespace(family=find_family(network)))
    assert isinstance(choose_step(state, SegmentationLoss()), CapturedStep) is captured


@pytest.mark.parametrize(
    ("checkpointing", "training", "processes", "reason"),
    [
        (True, {}, 1, "checkpointing"),
        (False, {"precision": "float16"}, 1, "float16"),
        (False, {}, 2, "several processes"),
    ],
)
def test_what_stands_against_a_graph_is_told(
    checkpointing: bool,
    training: dict[str, object],
    processes: int,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = _state()
    state.checkpointing, values = checkpointing, {"training": {**training, "cuda_graph": True}}
    state.recipe, state.network = Recipe.model_validate(values), _OnCuda()
    if training:
        state.precision.scaler = torch.amp.GradScaler("cpu")
    choose_step(state, SegmentationLoss(), SingleProcess(world_size=processes))
    (record,) = caplog.records
    assert reason in record.message


def _run(train: Train, runs: Path, *settings: str) -> dict[str, Tensor]:
    # SGD, as AdamW makes steps of rounding where a norm takes a bias's gradient away
    few = ("training.epochs=1", "training.iterations_per_epoch=5", "training.optimiser=sgd")
    assert train("--quiet", "--fold", "all", settings=(*few, *settings), runs=runs) == 0
    (file,) = runs.rglob("checkpoint_last.pt")
    return dict(load_checkpoint(file).state_dict)


@pytest.mark.slow
def test_a_run_with_a_graph_ends_where_one_without_does(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with left_to_pytorch():  # as the graph's steps are
        plain = _run(train, tmp_path / "plain")
    graph = RecordedGraph()
    monkeypatch.setattr(cuda_graph, "_obstacle", lambda *_: None)
    monkeypatch.setattr(cuda_graph, "CudaGraph", lambda _: graph)
    captured = _run(train, tmp_path / "graph", "training.cuda_graph=true")
    assert graph.replays == 5 - REHEARSALS
    for name, weights in plain.items():
        torch.testing.assert_close(captured[name], weights, rtol=1e-4, atol=1e-6)


@pytest.mark.gpu
def test_on_a_gpu_replayed_steps_are_the_steps() -> None:
    device, loss = torch.device("cuda"), SegmentationLoss()
    plain, captured = _state(device, precision="float32"), _state(device, precision="float32")
    captured.recipe = captured.recipe.model_copy(
        update={"training": captured.recipe.training.model_copy(update={"cuda_graph": True})}
    )
    step = choose_step(captured, loss)
    assert isinstance(step, CapturedStep)
    expected = _take(plain, partial(update, plain, loss), range(7))
    torch.testing.assert_close(_take(captured, step, range(7)), expected, rtol=1e-3, atol=1e-4)


_WAITING = """
import torch
from mednext_cli.training.cuda_graph import CudaGraph
total = torch.zeros(3, device="cuda")
CudaGraph(total.device).capture(lambda: total + total.sum().item())
"""


@pytest.mark.gpu
def test_on_a_gpu_what_waits_for_the_device_is_refused() -> None:
    """In a process of its own, which cannot go on: its random numbers stay in the capture."""
    ended = subprocess.run([sys.executable, "-c", _WAITING], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "SettingsError: a training step cannot be captured as a CUDA graph" in ended.stderr
