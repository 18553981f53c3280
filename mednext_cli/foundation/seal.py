"""A checksum of all bytes at the end of a file; HDF5 and zip readers do not mind it."""

import hashlib
from pathlib import Path

_MARK = b"mednext-sha256:"
_DIGEST_BYTES = 32
SEAL_BYTES = len(_MARK) + _DIGEST_BYTES
_BLOCK_BYTES = 2**20


def seal(content: bytes | memoryview) -> bytes:
    """What to write behind `content`."""
    return _MARK + hashlib.sha256(content).digest()


def unsealed(content: bytes) -> bytes | None:
    """What stands before the seal; None where there is no seal, or another one."""
    before, end = content[:-SEAL_BYTES], content[-SEAL_BYTES:]
    return before if end == seal(before) else None


def is_whole(path: Path) -> bool | None:
    """Whether no byte of a sealed file has changed; None where there is no seal.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        left = path.stat().st_size - SEAL_BYTES
        while left > 0:
            block = stream.read(min(left, _BLOCK_BYTES))
            if not block:
                return False
            digest.update(block)
            left -= len(block)
        end = stream.read()
    if not end.startswith(_MARK):
        return None
    return end == _MARK + digest.digest()
