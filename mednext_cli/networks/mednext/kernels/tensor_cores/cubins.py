"""Compiled programs, kept in the user's cache folder."""

import contextlib
import hashlib
from pathlib import Path

from mednext_cli.foundation.errors import StorageError
from mednext_cli.foundation.files import replacing
from mednext_cli.foundation.user_cache import user_cache_folder
from mednext_cli.networks.mednext.kernels.tensor_cores import compiling
from mednext_cli.networks.mednext.kernels.tensor_cores.variants import Variant, digest

_CHECKSUM_BYTES = 32


def cubin_of(variant: Variant, capability: tuple[int, int], folder: Path | None = None) -> bytes:
    """Machine code of a variant: from the cache, or compiled and kept there.

    A file is named after all it depends on: sources, options, GPU, compiler. One that is damaged is
    made again; a folder that takes no files costs the compilation in every process.

    Args:
        variant: kernel size and type.
        capability: of the GPU.
        folder: of the cache; the user's own by default.

    Raises:
        RuntimeError: see `compiling.compile_variant`.
    """
    folder = user_cache_folder() / "kernels" if folder is None else folder
    number = f"{capability[0]}{capability[1]}"
    key = digest(*variant.defines, number, compiling.version())
    path = folder / f"depthwise_{variant.name}_sm{number}_{key[:16]}.cubin"
    kept = _read(path)
    if kept is None:
        kept = compiling.compile_variant(variant, capability).cubin
        with contextlib.suppress(StorageError), replacing(path, sync=False) as beside:
            beside.write_bytes(hashlib.sha256(kept).digest() + kept)
    return kept


def _read(path: Path) -> bytes | None:
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    checksum, cubin = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    return cubin if hashlib.sha256(cubin).digest() == checksum else None
