"""Tiles through an engine, whoever made it, to probabilities; fewer at once where memory ends."""

import torch
from torch import Tensor

from mednext_cli.foundation.devices import is_out_of_memory, too_little_memory
from mednext_cli.foundation.errors import PluginError
from mednext_cli.inference.engine import Activation, Engine

# Softmax voxel by voxel takes less than class by class from here on: of 105 classes 0.4 of the time
# (`benchmarks/predict_classes.py`), of 3 on a core with AVX2 4 times as long.
_MANY_CLASSES = 64


def predict_tiles(engine: Engine, tiles: Tensor, outputs: int) -> list[Tensor]:
    """Probabilities of tiles; see `compute_logits`.

    Returns:
        (K, D, H, W) of each tile, float32, on the engine's device.
    """
    logits = compute_logits(engine, tiles, outputs)
    return [activate(one, engine.activation) for one in logits]


def compute_logits(engine: Engine, tiles: Tensor, outputs: int) -> list[Tensor]:
    """Logits of tiles, in halves where the device has too little memory for all at once.

    Args:
        engine: the engine.
        tiles: (B, C, D, H, W), on any device.
        outputs: K, the classes or regions of the plan.

    Returns:
        (K, D, H, W) of each tile, of any precision, on the engine's device.

    Raises:
        SettingsError: the device has too little memory for a single tile.
        PluginError: the engine gives something else, or ends the program.
    """
    try:
        return list(_ask(engine, tiles.to(engine.device), outputs))
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if len(tiles) == 1:
            size = _sizes(tuple(tiles.shape[2:]))
            raise too_little_memory(engine.device, f"a tile of {size} voxels") from error
    half = len(tiles) // 2
    return [
        *compute_logits(engine, tiles[:half], outputs),
        *compute_logits(engine, tiles[half:], outputs),
    ]


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """Logits (K, ...) of any precision to probabilities, float32."""
    logits = logits.float()
    if activation == "sigmoid":
        return logits.sigmoid()
    by_voxel = logits.movedim(0, -1)
    if len(logits) >= _MANY_CLASSES and by_voxel.is_contiguous():
        return by_voxel.softmax(-1).movedim(-1, 0)
    return logits.softmax(0)


def _ask(engine: Engine, tiles: Tensor, outputs: int) -> Tensor:
    try:
        given: object = engine(tiles)
    except SystemExit as error:
        raise _strange(engine, f"ends the program with exit code {error.code}") from error
    expected = (len(tiles), outputs, *tiles.shape[2:])
    if isinstance(given, Tensor) and given.shape == expected and given.is_floating_point():
        return given
    raise _strange(engine, f"gives {_told(given)} where logits {_sizes(expected)} are due")


def _told(given: object) -> str:
    if not isinstance(given, Tensor):
        return f"a {type(given).__name__}"
    return f"{str(given.dtype).removeprefix('torch.')} {_sizes(tuple(given.shape))}"


def _strange(engine: Engine, what: str) -> PluginError:
    maker = type(engine)
    return PluginError(
        f"the engine {maker.__module__}.{maker.__qualname__} {what}",
        "Tell whoever made it, and use --engine torch.",
    )


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "alone"
