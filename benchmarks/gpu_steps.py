"""Whole networks: training steps as `mednext train` takes them, and inference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from gpu_chains import FIRST, LAST, WAYS
from gpu_rows import DTYPE, Accuracy, Place, Results, Row, distances, judge, limit_ms, timed_rows
from torch import Tensor, nn

from mednext_cli.foundation.errors import PluginError
from mednext_cli.networks.building import run_all_heads
from mednext_cli.networks.choice import choose_network, completed
from mednext_cli.networks.mednext.kernels.availability import can_run
from mednext_cli.scaling.published import REVISITED
from mednext_cli.scaling.roofline import PUBLISHED_STEPS
from mednext_cli.settings.progress import Origin
from mednext_cli.settings.recipe import Recipe
from mednext_cli.training.cuda_graph import CapturedStep, choose_step
from mednext_cli.training.loss import SegmentationLoss
from mednext_cli.training.measure import made_up_plan
from mednext_cli.training.starting import Setup, build_state
from mednext_cli.training.state import TrainingState

_CLASSES = 3
_STEPS_TO_CAPTURE = 4
_TINY = {"expansion": (2,) * 9, "blocks": (1,) * 9, "base_channels": 4, "kernel": 3}
# Of a training step of L k5 at 128^3, batch 2: bytes and operations of matrix products.
_LARGEST_WORK = (50e9, 6.8e12)


@dataclass(frozen=True)
class StepWay:
    """How a training step is taken.

    Attributes:
        name: in the table.
        operators: of the recipe's `model.operators`.
        layout: of images and weights.
        checkpointing: of the recipe's `model.checkpointing`.
        graph: whether the step is a CUDA graph.
        precision: of the recipe's `training.precision`.
    """

    name: str
    operators: str
    layout: torch.memory_format = LAST
    checkpointing: bool = False
    graph: bool = False
    precision: str = "bfloat16"


_STOCK = StepWay("stock", "stock")
_EXACT = replace(_STOCK, layout=FIRST, checkpointing=True, precision="float32")
_STEP_WAYS = (
    StepWay("fused", "fused"),
    StepWay("fused, CUDA graph", "fused", graph=True),
    StepWay("stock, channels-first", "stock", FIRST),
    StepWay("stock, channels-first, CUDA graph", "stock", FIRST, graph=True),
    StepWay("stock, channels-first, checkpointing (as published)", "stock", FIRST, True),
)


@dataclass(frozen=True)
class Network:
    """A network and its batch.

    Attributes:
        name: in the table; that of its runs.
        model: the recipe's `[model]`, without how it is run.
        patch: voxels.
        batch: patches.
    """

    name: str
    model: Mapping[str, Any]
    patch: tuple[int, int, int] = (128, 128, 128)
    batch: int = 2

    def state(self, place: Place, way: StepWay) -> TrainingState:
        """Drawn with the recipe's seed, so that all ways have the same weights."""
        own = self.model["network"] == "mednext"
        model = {**self.model, "checkpointing": way.checkpointing}
        training = {
            "patch_voxels": self.patch,
            "batch_size": self.batch,
            "precision": way.precision,
            "cuda_graph": way.graph,
        }
        recipe = Recipe.model_validate(
            {"model": model | ({"operators": way.operators} if own else {}), "training": training}
        )
        recipe = completed(recipe)
        plan = made_up_plan(1, _CLASSES)
        state = build_state(
            Setup(recipe, choose_network(recipe.model), plan, place.device), Origin()
        )
        state.network.to(memory_format=way.layout)
        return state

    def images(self, place: Place, way: StepWay) -> tuple[Tensor, Tensor]:
        """(B, 1, D, H, W) with a mean that is not zero, and labels (B, D, H, W)."""
        random = torch.Generator().manual_seed(1)
        shape = (self.batch, *self.patch)
        images = torch.randn(self.batch, 1, *self.patch, generator=random) + 1
        labels = torch.randint(0, _CLASSES, shape, generator=random, dtype=torch.uint8)
        images = images.to(place.device).contiguous(memory_format=way.layout)
        return images, labels.to(place.device)


def _mednexts(place: Place) -> list[Network]:
    if place.tiny:
        return [Network("tiny", {"network": "mednext", "mednext": _TINY}, (16, 32, 16), 1)]
    return [
        Network(
            f"{size}-k{kernel}", {"network": "mednext", "mednext": {"size": size, "kernel": kernel}}
        )
        for size in "SBML"
        for kernel in (3, 5)
    ]


def step_rows(place: Place) -> Iterator[Row]:
    """All eight MedNeXts, and nnU-Net's network where it can be built, beside published hours.

    One way after the other, as two would not fit in memory together.
    """
    nnunet = Network("nnunet", {"network": "nnunet"})
    for network in filter(partial(_is_wanted, place), _mednexts(place)):
        accuracies = _accuracies(place, network)
        for way in filter(partial(_is_asked, place), _STEP_WAYS):
            if way.operators == "stock" or can_run(place.device):
                yield from _step_rows(place, network, way, accuracies.get(way.operators))
    if not place.tiny and _is_wanted(place, nnunet):
        yield from _step_rows(place, nnunet, _STEP_WAYS[2], None)


def _is_wanted(place: Place, network: Network) -> bool:
    return not place.networks or network.name in place.networks


def _is_asked(place: Place, way: StepWay) -> bool:
    return not place.operators or way.operators == place.operators


def _step_rows(
    place: Place, network: Network, way: StepWay, accuracy: Accuracy | None
) -> Iterator[Row]:
    if way.graph and place.device.type != "cuda":
        return
    place.free()
    try:
        yield from _timed_step(place, network, way, accuracy)
    except (torch.OutOfMemoryError, PluginError) as error:
        print(f"{network.name}, {way.name}: left out: {str(error).partition('.')[0]}")


def _timed_step(
    place: Place, network: Network, way: StepWay, accuracy: Accuracy | None
) -> Iterator[Row]:
    state = network.state(place, way)
    state.network.train()
    step = choose_step(state, SegmentationLoss())
    work = partial(step, *network.images(place, way))
    for _ in range(_STEPS_TO_CAPTURE if way.graph else 0):
        work()
    peak = place.peak_gib()  # of the capture, which timing does not repeat
    known, limit = REVISITED.get(network.name), None
    if network.name == "L-k5":
        limit = limit_ms(place, _LARGEST_WORK[0], 0, _LARGEST_WORK[1])
    accuracies = {} if accuracy is None else {way.name: accuracy}
    name = f"training step {network.name}"
    for row in timed_rows(place, name, {way.name: work}, accuracies, limit, as_launched=True):
        row["published_a100_hours"] = None if known is None else known.a100_hours
        row["captured"] = isinstance(step, CapturedStep) and step.is_captured
        if peak is not None and "milliseconds" in row:
            row["peak_gib"] = max(peak, row["peak_gib"])
        if "milliseconds" in row and not place.tiny:
            row["hours_1000_epochs"] = row["milliseconds"] * PUBLISHED_STEPS / 3.6e6
        yield row


def _accuracies(place: Place, network: Network) -> dict[str, Accuracy]:
    """By operators: the loss's whole gradient, in bfloat16, against float32 without TF32."""
    if not can_run(place.device):
        return {}
    exact, stock, fused = (
        _gradient(place, network, way)
        for way in (_EXACT, replace(_EXACT, precision="bfloat16"), _STEP_WAYS[0])
    )
    return {"fused": judge(distances(fused, exact), distances(stock, exact))}


def _gradient(place: Place, network: Network, way: StepWay) -> Results:
    """All weights' in one vector: those of a single bias may be zero by arithmetic."""
    place.free()
    state = network.state(place, way)
    images, labels = network.images(place, way)
    with state.precision.autocast():
        outputs = run_all_heads(state.network, images, state.spec)
    SegmentationLoss()(outputs, labels).backward()
    gradients = [one.grad.flatten() for one in state.network.parameters() if one.grad is not None]
    return {"gradient of the weights": torch.cat(gradients)}


def inference_rows(place: Place) -> Iterator[Row]:
    """A patch through L k5, in all ways."""
    network = replace(_mednexts(place)[-1], batch=1)
    works, errors = {}, {}
    exact = _inferred(place, network, _EXACT)()
    for way in WAYS:
        if not way.converts and (way.operators == "stock" or can_run(place.device)):
            step_way = StepWay(way.name, way.operators, way.layout)
            works[way.name] = _inferred(place, network, step_way)
            errors[way.name] = distances({"logits": works[way.name]()}, {"logits": exact})
    stock = errors["stock, channels-first"]
    accuracies = {name: judge(found, stock) for name, found in errors.items()}
    yield from timed_rows(place, f"inference {network.name}", works, accuracies)


def _inferred(place: Place, network: Network, way: StepWay) -> partial[Tensor]:
    state = network.state(place, way)
    images, _ = network.images(place, way)
    mixed = way.precision != "float32"
    return partial(_infer, place, state.network.eval(), images, mixed)


@torch.inference_mode()
def _infer(place: Place, network: nn.Module, images: Tensor, mixed: bool) -> Tensor:
    with place.autocast(mixed):
        logits: Tensor = network(images)
    return logits


def monai_rows(place: Place) -> Iterator[Row]:
    """MONAI's MedNeXt-L with kernel 5, if MONAI is there: a step as far as its loss allows."""
    try:
        from monai.networks.nets import create_mednext
    except ImportError:
        print("MONAI's MedNeXt cannot be imported: left out")
        return
    if place.tiny:
        return
    network = create_mednext("L", 3, 1, _CLASSES, kernel_size=5, deep_supervision=True)
    network = network.to(place.device)
    images = torch.randn(2, 1, 128, 128, 128, device=place.device)
    step = partial(
        _monai_step, network, torch.optim.AdamW(network.parameters(), fused=True), images
    )
    yield from timed_rows(place, "training step L-k5", {"MONAI": step}, {}, as_launched=True)
    infer = partial(_infer, place, network.eval(), images[:1], True)
    yield from timed_rows(place, "inference L-k5", {"MONAI": infer}, {})


def _monai_step(network: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    with torch.autocast(images.device.type, DTYPE):
        outputs = network(images)
    sum(one.float().square().mean() for one in outputs).backward()
    optimiser.step()
