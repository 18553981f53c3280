"""Graphs of networks that take long to make, kept in the user's cache folder for the next time.

There, and not beside the checkpoint: a checkpoint is safe to take from anybody, and a graph that
came along with it would be run without being compared with the weights.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mednext_cli import __version__
from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.locks import locked, remove_lock
from mednext_cli.foundation.machine import GIB
from mednext_cli.foundation.seal import seal, unsealed
from mednext_cli.foundation.user_cache import user_cache_folder
from mednext_cli.networks.building import hash_weights
from mednext_cli.networks.checkpoint import Checkpoint

logger = logging.getLogger(__name__)
_FILE = "graph.sealed"
_MOST_BYTES = 4 * GIB  # of an engine; those that were not used for longest go


def kept_path(engine: str, checkpoint: Checkpoint, settings: Mapping[str, object]) -> Path:
    """Where a network's graph is kept.

    Args:
        engine: that runs it.
        checkpoint: the network.
        settings: what else the graph depends on: the tile it is for, versions of what makes it.
    """
    key = {
        "network": checkpoint.network.dump(),
        "weights": hash_weights(checkpoint.state_dict),
        "mednext": __version__,
        **settings,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:32]
    return user_cache_folder() / engine / digest / _FILE


def open_or_make(path: Path, make: Callable[[], bytes], open_graph: Callable[[bytes], Any]) -> Any:  # noqa: ANN401 - of each runtime its own
    """The graph that is kept, else one that is made now and kept.

    Of two processes one makes it, and the other waits for it. A damaged one is made anew. Where
    nothing can be written, it is made each time, with a warning.

    Args:
        path: of `kept_path`.
        make: gives the graph's content.
        open_graph: of the content; it may raise anything where the content is no graph.
    """
    if (graph := _open_kept(path, open_graph)) is not None:
        return graph
    content: bytes | None = None
    try:
        with locked(path.parent):
            if (graph := _open_kept(path, open_graph)) is None:
                content = make()
                with replacing(path) as beside, beside.open("wb") as stream:
                    stream.write(content)
                    stream.write(seal(content))
                _remove_unused(path)
                graph = open_graph(content)
            remove_lock(path.parent)
            return graph
    except StorageError as error:
        logger.warning("%s: the graph is not kept", error.message)
    return open_graph(make() if content is None else content)


def _open_kept(path: Path, open_graph: Callable[[bytes], Any]) -> Any:  # noqa: ANN401
    """None where there is none, or it is damaged."""
    try:
        content = unsealed(path.read_bytes())
    except OSError:
        return None
    if content is not None:
        with suppress(Exception):  # the runtimes' errors have no class in common
            graph = open_graph(content)
            with suppress(OSError):
                os.utime(path)  # used now
            return graph
    logger.warning("%s is damaged: it is made anew", path)
    return None


def _remove_unused(path: Path) -> None:
    """Of what the engine keeps, remove what was not used for longest, but never `path`."""
    found = []
    for kept in path.parent.parent.glob(f"*/{_FILE}"):
        with suppress(OSError):  # another process removes it
            status = kept.stat()
            found.append((kept == path, status.st_mtime, status.st_size, kept))
    left = _MOST_BYTES
    for ours, _, size, kept in sorted(found, reverse=True):
        left -= size
        if left < 0 and not ours:
            with suppress(OSError):
                kept.unlink()
                kept.parent.rmdir()
