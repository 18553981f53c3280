"""Where this user keeps what can be made again, by the system's own convention."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_OWN = "mednext"


def user_cache_folder(
    environment: Mapping[str, str] = os.environ, system: str = sys.platform
) -> Path:
    """Our folder among the user's caches; it may not be there yet, nor be writable.

    ``$XDG_CACHE_HOME`` or ``~/.cache`` (XDG base directory specification), ``~/Library/Caches``
    on macOS, ``%LOCALAPPDATA%`` on Windows. A home that many machines share may be slow or without
    locks: XDG_CACHE_HOME can name a disk of the machine's own, on every system.
    """
    given = environment.get("XDG_CACHE_HOME", "")
    if given and Path(given).is_absolute():  # others are to be ignored, says the specification
        return Path(given) / _OWN
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
    if system == "darwin":
        return home / "Library" / "Caches" / _OWN
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / _OWN / "Cache"
    return home / ".cache" / _OWN
