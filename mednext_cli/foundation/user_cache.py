"""Where this user keeps what can be made again, by the system's own convention."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mednext_cli.foundation.user_data import OWN, given_folder, home_folder


def user_cache_folder(
    environment: Mapping[str, str] = os.environ, system: str = sys.platform
) -> Path:
    """Our folder among the user's caches; it may not be there yet, nor be writable.

    ``$XDG_CACHE_HOME`` or ``~/.cache`` (XDG base directory specification), ``~/Library/Caches``
    on macOS, ``%LOCALAPPDATA%`` on Windows. A home that many machines share may be slow or without
    locks: XDG_CACHE_HOME can name a disk of the machine's own, on every system.
    """
    if given := given_folder(environment, "XDG_CACHE_HOME"):
        return given / OWN
    home = home_folder()
    if system == "darwin":
        return home / "Library" / "Caches" / OWN
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / OWN / "Cache"
    return home / ".cache" / OWN
