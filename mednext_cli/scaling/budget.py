"""Which network a budget of memory and hours affords, and why not the next larger one.

Of every network three patches, two batches and both ways of checkpointing are tried, and on a GPU
fused operators without it where a network has them. What a step takes at other patches and batches
than the asked one is in proportion to their voxels. "Larger" is more multiply-adds a step, network,
patch and batch together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, prod

import torch

from mednext_cli.foundation.errors import SettingsError
from mednext_cli.foundation.machine import GIB
from mednext_cli.networks.patches import Patch, shown_patch
from mednext_cli.scaling.complexity import complexity_of
from mednext_cli.scaling.device_sheets import DeviceSheet
from mednext_cli.scaling.dry_run import DryNetwork
from mednext_cli.scaling.published import REVISITED
from mednext_cli.scaling.roofline import PUBLISHED_STEPS, estimate_time
from mednext_cli.scaling.specification import ReportedNetwork

# An NVIDIA GPU holds more than tensors: context, workspaces, the allocator's reserve. Six networks
# of nnU-Net Revisited took 2.1 to 3.4 GB more than is estimated here.
BESIDE_TENSORS_GIB = 3.5
_SHARES = (1.0, 0.75, 0.5)  # of the asked patch along each axis
_COPIES = 4  # weight, gradient and AdamW's two moments
_STOCK, _FUSED = "stock", "fused"
_UNITS = {"GIB": "gib", "GB": "gib", "H": "hours"}


@dataclass(frozen=True)
class Budget:
    """At most so much; None is without limit.

    Attributes:
        gib: of the device's memory.
        hours: of a training.
    """

    gib: float | None
    hours: float | None


def parse_budget(text: str) -> Budget:
    """The limits of ``11 GiB, 24 h``, or of one of the two.

    Raises:
        SettingsError: it says neither, one twice, or something else.
    """
    limits: dict[str, float] = {}
    for part in text.split(","):
        number = part.strip().rstrip("GgIiBbHh ")
        unit = _UNITS.get(part.strip()[len(number) :].strip().upper(), "")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not unit or unit in limits or not 0 < value < inf:
            raise SettingsError(
                f"--budget {text} is not a budget", 'Give "11 GiB, 24 h", "11 GiB" or "24 h".'
            )
        limits[unit] = value
    return Budget(limits.get("gib"), limits.get("hours"))


@dataclass(frozen=True)
class Candidate:
    """A network and how it would be trained.

    Attributes:
        network: label.
        model: size of MedNeXt; "" for others.
        kernel: of MedNeXt; None for others.
        patch_voxels: (D, H, W).
        batch: patches a step.
        precision: of the forward pass.
        operators: "stock", or "fused" ones of the network's own.
        checkpointing: whether activations are computed again.
        multiply_adds: of a step's forward pass.
        gib: what it takes of the device.
        hours: of the training; None without a device sheet.
        dice: mean of six datasets as others published it, in percent, for the asked patch.
    """

    network: str
    model: str
    kernel: int | None
    patch_voxels: Patch
    batch: int
    precision: str
    operators: str
    checkpointing: bool
    multiply_adds: int
    gib: float
    hours: float | None
    dice: float | None

    def excess(self, budget: Budget) -> str:
        """What of the budget it goes beyond, in words; empty where it fits."""
        over = []
        if budget.gib is not None and self.gib > budget.gib:
            over.append(f"{self.gib:.1f} GiB")
        if budget.hours is not None and self.hours is not None and self.hours > budget.hours:
            over.append(f"{self.hours:.3g} h")
        return " and ".join(over)

    def share(self, budget: Budget) -> float:
        """Of the limit that it comes nearest to, or goes furthest beyond."""
        return max(
            self.gib / budget.gib if budget.gib else 0.0,
            (self.hours or 0.0) / budget.hours if budget.hours else 0.0,
        )

    def describe(self) -> str:
        """In a line."""
        again = ", fused" if self.operators == _FUSED else ""
        again += ", checkpointing" if self.checkpointing else ""
        patch = shown_patch(self.patch_voxels)
        return f"{self.network}, patch {patch}, batch {self.batch}, {self.precision}{again}"


@dataclass(frozen=True)
class Choice:
    """What a budget affords.

    Attributes:
        best: the largest that fits.
        runners_up: the largest of each other network that fits, largest first.
        beyond: the smallest that is larger than the best and does not fit, and what it takes; ""
            where the best is the largest there is.
    """

    best: Candidate
    runners_up: tuple[Candidate, ...]
    beyond: str


def choose_within(
    budget: Budget,
    networks: Sequence[ReportedNetwork],
    batch_size: int,
    sheet: DeviceSheet | None,
    steps: int = PUBLISHED_STEPS,
    dtype: torch.dtype | None = None,
    fused: bool = True,
) -> Choice:
    """The largest network, patch, batch and precision that the budget affords.

    Args:
        budget: limits; where memory is not limited, a sheet's device has no more than it has.
        networks: to choose from, each with the patch that is asked for.
        batch_size: asked for; one patch a step is tried, too.
        sheet: of the device, for hours; None takes a GPU, of which memory alone is known.
        steps: of the training.
        dtype: of the forward pass; None is what the device is trained in unless told otherwise.
        fused: whether a GPU would run fused operators, as NVIDIA's do from Ampere on.

    Raises:
        SettingsError: hours are limited and there is no sheet, or nothing fits.
    """
    if budget.hours is not None and sheet is None:
        raise SettingsError(
            "a budget of hours needs a device to estimate them for",
            "Add --device-sheet h100, a100, rtx4090 or cpu.",
        )
    if budget.gib is None and sheet is not None:
        budget = replace(budget, gib=sheet.memory_gib)
    dtype = dtype or (sheet.training_dtype if sheet else torch.bfloat16)
    asked = _Asked(batch_size, sheet, steps, dtype, fused)
    tried = [one for network in networks for one in _candidates(network, asked)]
    fitting = [one for one in tried if not one.excess(budget)]
    if not fitting:
        least = min(tried, key=lambda one: (one.gib, one.hours or 0))
        raise SettingsError(
            f"nothing fits: the smallest is {least.describe()}, with {least.excess(budget)}",
            "Give more, or --patch and --models that take less.",
        )
    ranked = sorted(fitting, key=_rank)
    largest = {one.network: one for one in reversed(ranked)}
    best = ranked[0]
    others = sorted((one for one in largest.values() if one.network != best.network), key=_rank)
    return Choice(best, tuple(others), _beyond(best, tried, budget))


def _rank(one: Candidate) -> tuple[float, ...]:
    """Largest first; of two that are alike the one that is trained sooner."""
    return (-one.multiply_adds, one.checkpointing, one.hours or 0.0, one.gib)


def _beyond(best: Candidate, tried: Sequence[Candidate], budget: Budget) -> str:
    larger = [one for one in tried if one.multiply_adds > best.multiply_adds]
    if not larger:
        return ""
    size = min(one.multiply_adds for one in larger)
    ways = [one for one in larger if one.multiply_adds == size]
    least = min(ways, key=lambda one: one.share(budget))
    return f"{least.describe()} would take {least.excess(budget)}"


@dataclass(frozen=True)
class _Asked:
    batch_size: int
    sheet: DeviceSheet | None
    steps: int
    dtype: torch.dtype
    fused: bool


@dataclass(frozen=True)
class _Way:
    """How a network would be trained, and what a step as it is asked for takes then."""

    operators: str
    checkpointing: bool
    peak_bytes: int
    hours: float | None


def _ways(dry: DryNetwork, patch: Patch, asked: _Asked) -> Iterator[_Way]:
    given = (patch, asked.batch_size, asked.dtype)
    for checkpointing in (False, True) if dry.recomputes else (False,):
        run = dry.train(*given, checkpointing)
        sheet = asked.sheet
        time = estimate_time(run.work, dry.weights_bytes, sheet) if sheet else None
        hours = time.hours(asked.steps) if time else None
        yield _Way(_STOCK, checkpointing, run.peak_bytes, hours)
        half = asked.dtype.itemsize == 2
        if asked.fused and half and not checkpointing and dry.on_gpu and dry.fuses():
            peak = dry.train(*given, fused=True).peak_bytes
            yield _Way(_FUSED, False, peak, time.fused_hours(asked.steps) if time else None)


def _candidates(network: ReportedNetwork, asked: _Asked) -> Iterator[Candidate]:
    dry = DryNetwork(network.spec, asked.sheet.device_type if asked.sheet else "cuda")
    whole, rule = prod(network.patch_voxels), network.spec.patch_rule
    multiply_adds = complexity_of(dry, network.patch_voxels).multiply_adds
    patches = [
        network.patch_voxels if share == 1 else rule.fit([share * n for n in network.patch_voxels])
        for share in _SHARES
    ]
    fixed = (BESIDE_TENSORS_GIB if dry.on_gpu else 0) + _COPIES * dry.weights_bytes / GIB
    trained = REVISITED.get(network.label)
    for way in _ways(dry, network.patch_voxels, asked):
        activations = max(0, way.peak_bytes - dry.weights_bytes) / GIB  # gradients are in `fixed`
        for patch in dict.fromkeys(patches):
            for batch in dict.fromkeys((asked.batch_size, 1)):
                share = prod(patch) * batch / (whole * asked.batch_size)
                whole_batch = batch == asked.batch_size
                as_published = trained and trained.patch_voxels == patch and whole_batch
                yield Candidate(
                    network=network.label,
                    model=network.model,
                    kernel=network.kernel,
                    patch_voxels=patch,
                    batch=batch,
                    precision=str(asked.dtype).removeprefix("torch."),
                    operators=way.operators,
                    checkpointing=way.checkpointing,
                    multiply_adds=round(multiply_adds * asked.batch_size * share),
                    gib=fixed + activations * share,
                    hours=None if way.hours is None else way.hours * share,
                    dice=round(trained.mean_dice, 2) if trained and as_published else None,
                )
