"""Which engine ``auto`` is: what was measured fastest on this processor for these networks.

Measured is the start of each engine that is installed - OpenVINO and ONNX convert the network
first - and a tile, in turns with torch. That costs the seconds of a conversion, so it is done once
for a network, kept in the user's cache folder, and not at all where there is too little to predict
for it to pay.
"""

import hashlib
import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import inf, prod
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from mednext_cli import __version__
from mednext_cli.foundation.devices import is_out_of_memory, pick_dtype
from mednext_cli.foundation.errors import MednextError, StorageError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.foundation.locks import locked, remove_lock
from mednext_cli.foundation.user_cache import user_cache_folder
from mednext_cli.inference.engine import Engine, EngineOptions, build_engine
from mednext_cli.inference.models import Model
from mednext_cli.inference.tiling import window_starts
from mednext_cli.networks.mednext.kernels.measuring.machine import describe_device
from mednext_cli.volumes.volume import Shape

logger = logging.getLogger(__name__)
USUAL = "torch"
_FILE = "paces.json"
_PACKAGES = {"openvino": ("openvino",), "onnx": ("onnx", "onnxruntime", "onnxscript")}
CPU_ENGINES = tuple(_PACKAGES)
"""That compute on the CPU alone."""
_START_SECONDS = {"openvino": 15.0, "onnx": 60.0}  # about, before it is known
_HOPED = 0.2  # share of torch's time that another engine may save
_MARGIN = 0.9  # of torch's time: what is not below is not faster for certain
_SLOWEST = 2e-5  # seconds a voxel of torch: L k5 at full width on an old core
_ROUNDS, _ROUNDS_SECONDS = 5, 20.0
_TOLERANCE, _REDUCED_TOLERANCE = 1e-3, 5e-2  # of the largest logit, in float32 and below


@dataclass(frozen=True)
class Pace:
    """How fast an engine runs a network.

    Attributes:
        start_seconds: until it takes tiles, conversion and compilation included; 0 of torch.
        tile_seconds: median of a tile; None where the engine cannot run the network.
    """

    start_seconds: float
    tile_seconds: float | None

    def seconds(self, tiles: int | None) -> float:
        """Of so many tiles, of one without the start for None; infinite where it cannot."""
        if self.tile_seconds is None:
            return inf
        return (
            self.tile_seconds if tiles is None else self.start_seconds + tiles * self.tile_seconds
        )


Paces = dict[str, Pace]
_PACES = TypeAdapter(Paces)


@dataclass(frozen=True)
class EngineChoice:
    """An engine, and why.

    Attributes:
        name: of the engine.
        milliseconds: a tile of the first network by engine, where it was measured.
    """

    name: str
    milliseconds: Mapping[str, float] = field(default_factory=dict)


def choose_engine(
    name: str,
    models: Sequence[Model],
    options: EngineOptions,
    count: Callable[[Model], int] | None = None,
) -> EngineChoice:
    """The engine that is asked for; of ``auto`` the fastest.

    Args:
        name: auto, torch, openvino, onnx or a plugin's.
        models: that are averaged, all by the same engine.
        options: how it computes. What only torch has - a GPU, a choice of operators - means torch,
            and so do patches that exported graphs do not take.
        count: tiles and mirrorings that are to be predicted with a model. None where nobody knows:
            then the start does not count, and nothing is measured.
    """
    others = _installed(options) if name == "auto" else ()
    if not others or any(model.graph_patch != model.plan.patch_voxels for model in models):
        return EngineChoice(USUAL if name == "auto" else name)
    totals = dict.fromkeys((USUAL, *others), 0.0)
    milliseconds: dict[str, float] = {}
    for model in models:
        tiles = None if count is None else count(model)
        paces = _paces(model, options, others, tiles or 0)
        for engine in totals:
            totals[engine] += paces[engine].seconds(tiles) if engine in paces else inf
        milliseconds = milliseconds or _milliseconds(paces)
    choice = EngineChoice(_fastest(totals), milliseconds)
    if milliseconds:
        told = ", ".join(f"{engine} {one:.0f} ms" for engine, one in milliseconds.items())
        logger.info("the engine is %s: a tile takes %s", choice.name, told)
    return choice


def _fastest(totals: Mapping[str, float]) -> str:
    """Torch, unless another takes clearly less."""
    best = min(totals, key=totals.__getitem__)
    return best if totals[best] < _MARGIN * totals[USUAL] < inf else USUAL


def _milliseconds(paces: Paces) -> dict[str, float]:
    found = {name: pace.tile_seconds for name, pace in paces.items()}
    return {name: round(1e3 * one, 2) for name, one in found.items() if one is not None}


def tiles_of(model: Model, shapes: Sequence[Shape]) -> int:
    """Tiles and mirrorings of a model for prepared images of these shapes (D, H, W)."""
    patch, turn = model.plan.patch_voxels, model.plan.turn
    mirrored = sum(patch[axis] > 1 for axis in turn.axes(model.mirrored))
    total = 0
    for shape in shapes:
        padded = [max(pair) for pair in zip(turn.triple(shape), patch, strict=True)]
        total += prod(map(len, window_starts(padded, patch, model.overlap)))
    mirrorings: int = 2**mirrored
    return total * mirrorings


def _installed(options: EngineOptions) -> tuple[str, ...]:
    """Engines beside torch that can do what is asked for."""
    if options.device.type != "cpu" or options.operators != "auto":
        return ()
    full = pick_dtype(options.precision, options.device) is torch.float32
    return tuple(
        name
        for name, packages in _PACKAGES.items()
        if all(map(find_spec, packages)) and (full or name != "onnx")
    )


def _paces(model: Model, options: EngineOptions, others: Sequence[str], tiles: int) -> Paces:
    """What is known of torch and these, and of those that are worth it what is measured now."""
    key = _key(model, options)
    folder = _folder(key)
    known = _load(folder, key)
    if not _worth(model, known, others, tiles):
        return known
    try:
        with locked(folder):
            known = _load(folder, key)
            if USUAL not in known:
                known = _measure(model, options, known, ())
            if worth := _worth(model, known, others, tiles):
                known = _measure(model, options, known, worth)
            content = {"key": key, "paces": {name: asdict(pace) for name, pace in known.items()}}
            write_json(folder / _FILE, content)
            remove_lock(folder)
    except StorageError as error:
        logger.warning("%s: the engine is torch, since what is measured cannot be kept", error)
    return known


def _worth(model: Model, known: Paces, others: Sequence[str], tiles: int) -> list[str]:
    """Engines not yet measured whose gain would, at best, be more than their start."""
    a_tile = known[USUAL].tile_seconds if USUAL in known else None
    if a_tile is None:
        a_tile = _SLOWEST * prod(model.plan.patch_voxels)
    return [
        name
        for name in others
        if name not in known and _HOPED * tiles * a_tile > _START_SECONDS[name]
    ]


def _measure(model: Model, options: EngineOptions, known: Paces, others: Sequence[str]) -> Paces:
    """With torch and these; the rest stays as it is known."""
    if others:
        logger.info("measuring %s, which is kept for the next time", " and ".join(others))
    made = Paces(known)
    full = pick_dtype(options.precision, options.device) is torch.float32
    tolerance = _TOLERANCE if full else _REDUCED_TOLERANCE
    shape = (1, model.checkpoint.network.in_channels, *model.plan.patch_voxels)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    engines: dict[str, Engine] = {}
    starts: dict[str, float] = {}
    expected: torch.Tensor | None = None
    with torch.inference_mode():
        for name in (USUAL, *others):
            begun = time.perf_counter()
            try:
                engine = build_engine(name, model.checkpoint, model.plan, options)
                found = engine(image)
            except Exception as error:  # whatever a runtime trips over
                if name == USUAL:
                    raise
                logger.warning("the engine %s cannot run the network: %s", name, error)
                if not _may_pass(error):
                    made[name] = Pace(0.0, None)
                continue
            expected = found if expected is None else expected
            if _differs(found, expected, tolerance):
                logger.warning("the engine %s computes something else: it is not taken", name)
                made[name] = Pace(0.0, None)
                continue
            starts[name] = 0.0 if name == USUAL else time.perf_counter() - begun
            engines[name] = engine
        for name, seconds in _time_in_turns(engines, image).items():
            made[name] = Pace(round(starts[name], 3), seconds)
    return made


def _may_pass(error: Exception) -> bool:
    """Whether another time the engine may do: for want of memory, or of space on a disk."""
    return is_out_of_memory(error) or isinstance(error, OSError | StorageError)


def _differs(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    if found.shape != expected.shape:
        return True
    return not bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def _time_in_turns(engines: Mapping[str, Engine], image: torch.Tensor) -> dict[str, float]:
    """Median seconds of each, all of which share what else the machine does."""
    samples: dict[str, list[float]] = {name: [] for name in engines}
    begun = time.perf_counter()
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            engine(image)
            samples[name].append(time.perf_counter() - started)
        if time.perf_counter() - begun > _ROUNDS_SECONDS:
            break
    return {name: statistics.median(taken) for name, taken in samples.items()}


def _key(model: Model, options: EngineOptions) -> dict[str, object]:
    """All that the paces depend on, but the values of the weights."""
    versions = {name: _version(name) for name in ("openvino", "onnxruntime")}
    return {
        "network": json.loads(json.dumps(model.checkpoint.network.dump(), default=str)),
        "patch_voxels": list(model.plan.patch_voxels),
        "precision": options.precision,
        "mednext": __version__,
        **describe_device(options.device),
        **versions,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _folder(key: Mapping[str, object]) -> Path:
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return user_cache_folder() / "engines" / digest[:32]


def _load(folder: Path, key: Mapping[str, object]) -> Paces:
    """What is kept; nothing where it is damaged or of something else."""
    try:
        content = read_json(folder / _FILE)
        return _PACES.validate_python(content["paces"]) if content["key"] == key else {}
    except (MednextError, ValidationError, LookupError, TypeError):
        return {}
