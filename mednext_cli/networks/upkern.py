"""UpKern: a network with large kernels begins from a trained one with small kernels.

The depthwise kernels are grown, everything else is copied. As published they are resampled
trilinearly (bilinearly in two dimensions); source: arXiv 2303.09975, section 2.3. Two other
beginnings are ours, to compare it with: `centre` puts zeros around the small kernel, so that the
network computes what it did before, and `nearest` repeats its voxels. What happens to a tensor
follows from its rank and shape, not from its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Size, Tensor
from torch.nn import functional as F

from mednext_cli.foundation.errors import CheckpointError, SettingsError, check_choice
from mednext_cli.networks.building import check_fit, expected_weights
from mednext_cli.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mednext_cli.networks.choice import with_settings
from mednext_cli.networks.spec import NetworkSpec
from mednext_cli.settings.growth import GROWTH, Growth

_SMALLEST, _LARGEST = 3, 7
_MODES = {4: "bilinear", 5: "trilinear"}  # (out, in / groups, spatial...)


@dataclass(frozen=True)
class Step:
    """What happens to one tensor, and the shapes before and after."""

    name: str
    action: Literal["copy", "grow"]
    source_shape: tuple[int, ...]
    target_shape: tuple[int, ...]


def plan_upkern(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[Step]:
    """Decide tensor by tensor how `source` becomes `target`; nothing is computed.

    Args:
        source: the trained state dict (only shapes are read; "meta" tensors will do).
        target: the state dict of the network with larger kernels, likewise.

    Raises:
        CheckpointError: a tensor has no counterpart, or one of another shape that no enlarging of
            a kernel explains.
    """
    if source.keys() != target.keys():
        name = sorted(source.keys() ^ target.keys())[0]
        raise CheckpointError(
            f"the two networks differ by more than their kernels: {name} is in one of them only",
            "UpKern needs the same size, channels and classes.",
        )
    return [_step(name, source[name].shape, target[name].shape) for name in target]


def _step(name: str, source: Size, target: Size) -> Step:
    if source == target:
        return Step(name, "copy", tuple(source), tuple(target))
    grown = len(source) == len(target) and len(source) in _MODES
    if grown and source[:2] == target[:2] and all(map(int.__lt__, source[2:], target[2:])):
        return Step(name, "grow", tuple(source), tuple(target))
    raise CheckpointError(
        f"{name} of shape {tuple(source)} cannot become {tuple(target)}",
        "UpKern enlarges kernels, and needs the same size, channels and classes.",
    )


def grow_kernel(weight: Tensor, size: tuple[int, ...], growth: Growth = GROWTH) -> Tensor:
    """A kernel (out, in / groups, k, ...) at a larger size (k, ...).

    Args:
        weight: of the small kernel.
        size: of the large one along each spatial axis, voxels; odd, as the small one is.
        growth: `trilinear` interpolates between voxel centres (as published; no weight is scaled,
            so that a constant kernel sums to more); `centre` has zeros around the small kernel;
            `nearest` takes the nearest voxel's weight, symmetrically about the centre.
    """
    if growth == "centre":
        margins = [(new - old) // 2 for old, new in zip(weight.shape[2:], size, strict=True)]
        return F.pad(weight, [margin for margin in reversed(margins) for _ in range(2)])
    if growth == "nearest":
        return F.interpolate(weight, size=size, mode="nearest-exact")
    return F.interpolate(weight, size=size, mode=_MODES[weight.ndim], align_corners=False)


def parse_kernel(text: str) -> int:
    """The kernel in ``k5`` or ``5``.

    Raises:
        SettingsError: not a kernel.
    """
    digits = text.lower().removeprefix("k")
    if not digits.isdecimal():
        raise SettingsError(f"{text!r} is not a kernel", "Give k5 or k7, for example.")
    kernel = int(digits)
    check_kernel(kernel)
    return kernel


def check_kernel(kernel: int) -> None:
    """Raise `SettingsError` unless a kernel can have this size: odd, at least 3, at most 7."""
    if kernel < _SMALLEST or kernel % 2 == 0:
        raise SettingsError(
            f"kernel {kernel} is not possible: a kernel is odd, so that it has a centre, and at "
            f"least {_SMALLEST}",
            "Give k5 or k7.",
        )
    if kernel > _LARGEST:
        raise SettingsError(f"kernel {kernel} is larger than any recipe allows", "Give k5 or k7.")


def enlarge(
    checkpoint: Checkpoint, kernel: int, growth: Growth = GROWTH
) -> tuple[Checkpoint, list[Step]]:
    """A checkpoint with larger kernels everywhere, and what was done.

    Plan and recipe stay (the recipe's network follows), progress and optimiser go: training begins
    anew from these weights.

    Args:
        checkpoint: the trained network.
        kernel: of the depthwise convolutions of the result, voxels, odd.
        growth: how a kernel becomes a larger one, see `grow_kernel`.

    Raises:
        CheckpointError: the network's kernels are not smaller, it is of a kind that has none, or
            its weights do not fit it.
        SettingsError: there is no such kernel, or no such way to grow one.
    """
    source = checkpoint.network
    check_kernel(kernel)
    _check_grows(source)
    _check_larger(source, kernel)
    return grow_to(checkpoint, source.with_kernel(kernel), growth)


def grow_to(
    checkpoint: Checkpoint, target: NetworkSpec, growth: Growth = GROWTH
) -> tuple[Checkpoint, list[Step]]:
    """A checkpoint of the network `target`, which has larger kernels; see `enlarge`.

    Raises:
        CheckpointError: the networks differ by more than their kernels or have none, a kernel would
            become smaller, or the weights do not fit the checkpoint's network.
        SettingsError: there is no such way to grow a kernel.
    """
    source = checkpoint.network
    _check_grows(source)
    check_choice("--growth", growth, Growth)
    check_fit(expected_weights(source), checkpoint.state_dict)
    steps = plan_upkern(checkpoint.state_dict, expected_weights(target))
    enlarged = Checkpoint(
        network=target,
        state_dict={step.name: _apply(step, checkpoint.state_dict, growth) for step in steps},
        plan=checkpoint.plan,
        recipe=checkpoint.recipe and with_settings(checkpoint.recipe, target.settings),
        origin=checkpoint.origin,
        metadata={
            **checkpoint.metadata,
            "upkern_from": list(source.kernels),
            "upkern_growth": growth,
        },
    )
    return enlarged, steps


@dataclass(frozen=True)
class UpKernSpec:
    """What `mednext upkern` is asked to do.

    Attributes:
        source: the trained checkpoint file.
        kernel: of the result, voxels along each axis: 5 or 7.
        out: file of the result; None puts it beside the source, ``NAME_upkern_k5.pt``, or
            ``NAME_upkern_k5_centre.pt`` where kernels are not grown as published.
        growth: how a kernel becomes a larger one, see `grow_kernel`.
    """

    source: Path
    kernel: int
    out: Path | None = None
    growth: Growth = GROWTH

    @property
    def ending(self) -> str:
        """Of the name of a result, after that of its source."""
        way = "" if self.growth == GROWTH else f"_{self.growth}"
        return f"_upkern_k{self.kernel}{way}{self.source.suffix}"

    @property
    def file(self) -> Path:
        """Where the result goes."""
        return self.out or self.source.with_name(f"{self.source.stem}{self.ending}")


@dataclass(frozen=True)
class UpKernResult:
    """The checkpoint that was written, and what became of each tensor."""

    file: Path
    steps: tuple[Step, ...]


def upkern(spec: UpKernSpec) -> UpKernResult:
    """Enlarge the kernels of a checkpoint file.

    Raises:
        CheckpointError: see `enlarge`; or source and result are the same file.
        SettingsError: there is no such kernel, or no such way to grow one.
        StorageError: the disk refuses.
    """
    if spec.file.resolve() == spec.source.resolve():
        raise CheckpointError(f"{spec.file} is the checkpoint to read", "Give another --out.")
    try:
        enlarged, steps = enlarge(load_checkpoint(spec.source), spec.kernel, spec.growth)
    except CheckpointError as error:
        named = str(spec.source) in error.message
        message = error.message if named else f"{spec.source}: {error.message}"
        raise CheckpointError(message, error.remedy) from error
    save_checkpoint(spec.file, enlarged)
    return UpKernResult(spec.file, tuple(steps))


def _check_grows(source: NetworkSpec) -> None:
    if not source.kernels:
        raise CheckpointError(
            f"network {source.family.label(source.settings)} has no kernels to enlarge",
            "UpKern needs a network that has.",
        )


def _check_larger(source: NetworkSpec, kernel: int) -> None:
    if max(source.kernels) > kernel or min(source.kernels) == kernel:
        kernels = " and ".join(str(kernel) for kernel in sorted(set(source.kernels)))
        raise CheckpointError(
            f"kernel {kernel} is not larger than the checkpoint's {kernels}",
            "UpKern only enlarges: take a larger --to, or a checkpoint with smaller kernels.",
        )


def _apply(step: Step, source: Mapping[str, Tensor], growth: Growth) -> Tensor:
    weight = source[step.name]
    return weight if step.action == "copy" else grow_kernel(weight, step.target_shape[2:], growth)
