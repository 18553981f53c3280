"""A block as it is measured: with weights, an image, and the gradient that comes back."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mednext_cli.networks.mednext.blocks import MedNeXtBlock
from mednext_cli.networks.mednext.kernels import tilings
from mednext_cli.networks.mednext.kernels.measuring.candidates import Candidate, Layout, Mode
from mednext_cli.networks.mednext.kernels.measuring.choices import (
    memory_format,
    set_layout,
    tile_places,
    tile_width,
)
from mednext_cli.networks.mednext.kernels.measuring.shapes import FoundBlock
from mednext_cli.networks.mednext.kernels.measuring.surroundings import (
    full_precision,
    in_mode,
)
from mednext_cli.networks.mednext.ways import PYTORCH, tiling_of
from mednext_cli.networks.workload import Workload

Quantities = dict[str, Tensor]
_SEED = 0
_PART = 12  # voxels along each axis that float32 is checked on
_SOUND = 1e-4


class Subject:
    """A block with random weights; its image has a mean, and its gradient is noise.

    A mean that is not zero and a gradient without structure bring out what a kernel loses by
    rounding: small terms that add up over a large patch.

    Args:
        found: a block without memory, and the shape of its image.
        workload: number format, device, and whether there are gradients.
    """

    def __init__(self, found: FoundBlock, workload: Workload) -> None:
        self.shape, self._workload = found.shape, workload
        shape, device = found.shape, workload.device
        draw = torch.Generator(device).manual_seed(_SEED)
        self._block = _with_weights(found.block, device, draw)
        size = (shape.batch, shape.channels, *shape.voxels)
        image = torch.randn(size, generator=draw, device=device) + 1
        self._image = image.to(workload.dtype)
        self._slope = self._draw_slope(draw)

    def _draw_slope(self, draw: torch.Generator) -> Tensor | None:
        if not self._workload.training:
            return None
        with torch.device("meta"):
            size = copy.deepcopy(self._block).to("meta")(self._image.float().to("meta")).shape
        noise = torch.randn(size, generator=draw, device=self._image.device)
        return noise.to(self._workload.dtype)

    def work(self, candidate: Candidate) -> Callable[[], list[Tensor]]:
        """The whole chain, as often as it is called: output, and gradients if there are any."""
        block, layout = copy.deepcopy(self._block), candidate.mode.layout
        block.way = candidate.way
        set_layout(block, layout)
        image, slope = _laid_out(self._image, layout), _laid_out(self._slope, layout)
        places = tile_places(block, tile_width(self.shape)) if self.shape.plain else ()
        tiling = tiling_of(candidate.way) or ""

        def run() -> list[Tensor]:
            with in_mode(candidate.mode), tilings.preferring(places, tiling), self._autocast():
                output, *gradients = _run(block, image, slope)
                # What leaves the layout pays for the way back: the next block counts on it.
                return [output.contiguous(memory_format=memory_format(layout)), *gradients]

        return run

    def quantities(self, candidate: Candidate) -> Quantities:
        """What the chain gives, by name."""
        return self._named(self.work(candidate)())

    def reference(self, nudged: bool = False) -> Quantities:
        """The same in float32 without shortcuts, by PyTorch's own operators.

        Args:
            nudged: with an image that differs by a rounding of float32.

        Raises:
            ArithmeticError: these are wrong themselves, by float64 on a part of the image.
        """
        _check_reference(self._block, self._image)
        block, image = copy.deepcopy(self._block), self._image.float()
        block.way = PYTORCH
        if nudged:
            image = image * (1 + torch.finfo(image.dtype).eps * torch.rand_like(image).sub_(0.5))
        slope = None if self._slope is None else self._slope.float()
        with full_precision(), in_mode(Mode("contiguous")):
            return self._named(_run(block, image, slope))

    def _named(self, values: list[Tensor]) -> Quantities:
        """Output and gradients; of a layer those of weight and bias together.

        A bias before a norm has no gradient but rounding, which only its weight's gives a measure.
        """
        output, *gradients = (value.detach() for value in values)
        if not gradients:
            return {"output": output}
        layers: dict[str, list[Tensor]] = {}
        for (name, _), gradient in zip(self._block.named_parameters(), gradients[1:], strict=True):
            layers.setdefault(name.rpartition(".")[0], []).append(gradient.flatten())
        named = {f"gradient of {layer}": torch.cat(parts) for layer, parts in layers.items()}
        return {"output": output, "gradient of the image": gradients[0], **named}

    def _autocast(self) -> torch.autocast:
        kind, dtype = self._workload.device.type, self._workload.dtype
        mixed = dtype is not torch.float32
        return torch.autocast(kind, dtype if mixed else None, enabled=mixed)


def _with_weights(block: MedNeXtBlock, device: torch.device, draw: torch.Generator) -> MedNeXtBlock:
    """A copy on the device: outputs of each layer near 1, norm and biases not the usual 1 and 0."""
    made = copy.deepcopy(block).to_empty(device=device)
    for name, weights in made.named_parameters():
        values = torch.randn(weights.shape, generator=draw, device=device)
        fan_in = weights[0].numel() if weights.ndim > 1 else 100
        values = values / fan_in**0.5 + (1 if name == "norm.weight" else 0)
        weights.data.copy_(values)
    return made


def _laid_out(x: Tensor | None, layout: Layout) -> Tensor | None:
    return None if x is None else x.contiguous(memory_format=memory_format(layout))


def _run(block: nn.Module, image: Tensor | None, slope: Tensor | None) -> list[Tensor]:
    assert image is not None  # noqa: S101 - only the slope may be missing
    if slope is None:
        with torch.inference_mode():
            return [block(image)]
    image = image.detach().requires_grad_()
    output = block(image)
    given = [image, *block.parameters()]
    gradients = torch.autograd.grad(output, given, slope.to(output.dtype))
    return [output, *gradients]


def _check_reference(block: MedNeXtBlock, image: Tensor) -> None:
    part = image[:1, :, :_PART, :_PART, :_PART].float().contiguous()
    exact = copy.deepcopy(block).double()
    with full_precision(), torch.no_grad():
        found, expected = block(part), exact(part.double())
    error = float((found - expected).norm() / expected.norm())
    if not error < _SOUND:
        raise ArithmeticError(f"PyTorch's own float32 deviates by {error:.2g} from float64")
