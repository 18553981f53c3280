"""Parts of a network whose images are channels-last: operators, stages, and the ways between."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

import torch
from gpu_rows import DTYPE, Accuracy, Place, Results, Row, distances, judge, limit_ms, timed_rows
from torch import Tensor, nn

from mednext_cli.networks.building import build_plain
from mednext_cli.networks.mednext.kernels import DepthwiseConv3d
from mednext_cli.networks.mednext.kernels.availability import can_run
from mednext_cli.networks.mednext.kernels.convolution import autocast
from mednext_cli.networks.mednext.kernels.tensor_cores.availability import takes
from mednext_cli.networks.spec import describe_network

LAST, FIRST = torch.channels_last_3d, torch.contiguous_format


@dataclass(frozen=True)
class Way:
    """How a chain is run.

    Attributes:
        name: in the table.
        operators: of the recipe's `model.operators`, or "tensor_cores" of a single convolution.
        layout: of the images inside.
        converts: whether images come and go channels-last all the same.
    """

    name: str
    operators: str
    layout: torch.memory_format
    converts: bool = False


FUSED = Way("fused", "fused", LAST)
TENSOR_CORES = Way("fused, tensor cores", "tensor_cores", LAST)
STOCK = Way("stock, channels-first", "stock", FIRST)
WAYS = (
    FUSED,
    Way("stock, channels-last", "stock", LAST),
    STOCK,
    Way("stock, channels-first, from and to channels-last", "stock", FIRST, converts=True),
)


class Convolution(DepthwiseConv3d):
    """One that tensor cores can compute, too."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) to the same shape."""
        if self.operators != TENSOR_CORES.operators:
            return super().forward(x)
        from mednext_cli.networks.mednext.kernels.tensor_cores.operator import depthwise

        return depthwise(autocast(x), self.weight, self.bias, self.stride, False, False)[0]


@dataclass(frozen=True)
class Chain:
    """Layers that work on one image.

    Attributes:
        name: in the table.
        shape: of the image.
        build: the layers.
        traffic: bytes that a forward pass moves at least.
        sums: its float32 operations outside matrix products.
        products: its operations of matrix products.
    """

    name: str
    shape: tuple[int, ...]
    build: Callable[[], nn.Module]
    traffic: float
    sums: float
    products: float


def chain_rows(place: Place, chains: Iterator[Chain]) -> Iterator[Row]:
    """Forward, forward + backward and their difference, each chain in all ways."""
    for chain in chains:
        yield from _rows(place, chain)
        place.free()


def depthwise_chains(place: Place) -> Iterator[Chain]:
    """One depthwise convolution at the three finest resolutions of a MedNeXt."""
    shapes = (
        [(1, 4, 4, 5, 6)] if place.tiny else [(2, 32 * 2**i, *(128 // 2**i,) * 3) for i in range(3)]
    )
    for kernel in (3,) if place.tiny else (3, 5, 7):
        for shape in shapes:
            count = prod(shape)
            name = f"depthwise k{kernel} {_text(shape)}"
            build = _builder(Convolution, shape[1], kernel)
            yield Chain(name, shape, build, 2 * 2 * count, 2 * kernel**3 * count, 0)


def stage_chains(place: Place) -> Iterator[Chain]:
    """The blocks of L k5 at the three finest resolutions, and what leads down and up between."""
    size = {"expansion": (2,) * 9, "blocks": (1,) * 9} if place.tiny else {"size": "L"}
    base, side, kernel = (4, 4, 3) if place.tiny else (32, 128, 5)
    batch, levels = (1, 1) if place.tiny else (2, 3)
    network = build_plain(
        describe_network("mednext", 1, 2, kernel=kernel, base_channels=base, **size)
    )
    for level in range(levels):
        shape = (batch, base * 2**level, *(side // 2**level,) * 3)
        blocks = network.encoder[level].blocks
        work = _block_work(shape, len(blocks), blocks[0].expand.weight.shape[0], kernel)
        name = f"{len(blocks)} blocks of stage {level} {_text(shape)}"
        yield Chain(name, shape, _builder(nn.Sequential, *blocks), *work)
    shape = (batch, base, *(side,) * 3)
    half = (batch, 2 * base, *(side // 2,) * 3)
    yield Chain(f"down {_text(shape)}", shape, lambda: network.encoder[0].down, 0, 0, 0)
    yield Chain(f"up {_text(half)}", half, lambda: network.decoder[0].up, 0, 0, 0)


def _builder(kind: Callable[..., nn.Module], *arguments: object) -> Callable[[], nn.Module]:
    return lambda: kind(*arguments)


def _block_work(
    shape: tuple[int, ...], blocks: int, hidden: int, kernel: int
) -> tuple[float, float, float]:
    """x, z twice and y pass through memory; two products with the expanded channels."""
    count = prod(shape)
    products = 2 * 2 * hidden * count
    return blocks * 4 * 2 * count, blocks * 2 * kernel**3 * count, blocks * products


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _rows(place: Place, chain: Chain) -> Iterator[Row]:
    torch.manual_seed(0)
    module = chain.build().to(place.device)
    # A mean that is not zero, and a gradient like noise: where rounding twice shows.
    image = (torch.randn(chain.shape, device=place.device) + 1).to(DTYPE)
    with torch.no_grad():
        slope = torch.randn_like(module(image.float())).to(DTYPE)
    ways = [way for way in WAYS if way.operators == "stock" or can_run(place.device)]
    if isinstance(module, Convolution) and takes(place.device, DTYPE, *module.weight.shape[::4]):
        ways.append(TENSOR_CORES)
    accuracies = _accuracies(place, module, image, slope, ways)
    place.free()
    runs = {way.name: _Run(place, module, image, slope, way) for way in ways}
    forward, both = (
        list(timed_rows(place, f"{chain.name} {part}", works, accuracies, limit))
        for part, works, limit in (
            ("forward", {name: run.forward for name, run in runs.items()}, _limit(place, chain, 1)),
            ("both", {name: run.both for name, run in runs.items()}, _limit(place, chain, 3)),
        )
    )
    yield from forward
    yield from both
    yield from map(_difference, forward, both, [_limit(place, chain, 2)] * len(both))


def _limit(place: Place, chain: Chain, passes: int) -> float | None:
    if not chain.traffic:
        return None
    work = (passes * part for part in (chain.traffic, chain.sums, chain.products))
    return limit_ms(place, *work)


def _difference(forward: Row, both: Row, limit: float | None) -> Row:
    row = {**both, "row": both["row"].replace(" both", " backward"), "limit_ms": limit}
    if "milliseconds" in both:
        row["milliseconds"] = both["milliseconds"] - forward["milliseconds"]
        row["spread_ms"] = both["spread_ms"] + forward["spread_ms"]
    return row


class _Run:
    """A chain in one way, on its own copy of image and weights."""

    def __init__(
        self,
        place: Place,
        module: nn.Module,
        image: Tensor,
        slope: Tensor,
        way: Way,
        mixed: bool = True,
    ) -> None:
        self._autocast, self._way = partial(place.autocast, mixed), way
        self._module = copy.deepcopy(module).to(memory_format=way.layout)
        for part in self._module.modules():
            if hasattr(part, "operators"):
                part.operators = way.operators
        self._outside = LAST if way.converts else way.layout
        self._image = image.contiguous(memory_format=self._outside)
        self._slope = slope.contiguous(memory_format=self._outside)

    def _result(self, x: Tensor) -> Tensor:
        with self._autocast():
            result: Tensor = self._module(x.contiguous(memory_format=self._way.layout))
        return result.contiguous(memory_format=self._outside)

    @torch.no_grad()
    def forward(self) -> Tensor:
        return self._result(self._image)

    def both(self) -> Results:
        """The output and all gradients."""
        x = self._image.detach().requires_grad_()
        y = self._result(x)
        wanted = {"image": x, **dict(self._module.named_parameters())}
        gradients = torch.autograd.grad(y, list(wanted.values()), self._slope)
        found = dict(zip(wanted, gradients, strict=True))
        found["image"] = found["image"].contiguous(memory_format=self._outside)
        return {"output": y.detach()} | {f"gradient of {name}": found[name] for name in found}


def _accuracies(
    place: Place, module: nn.Module, image: Tensor, slope: Tensor, ways: list[Way]
) -> dict[str, Accuracy]:
    # The caller has turned TF32 off.
    exact = _Run(place, module, image.float(), slope.float(), STOCK, mixed=False).both()
    errors = {
        way.name: distances(_Run(place, module, image, slope, way).both(), exact) for way in ways
    }
    return {name: judge(found, errors[STOCK.name]) for name, found in errors.items()}
