"""Where this user keeps what cannot be made again, by the system's own convention."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

OWN = "mednext"


def user_data_folder(
    environment: Mapping[str, str] = os.environ, system: str = sys.platform
) -> Path:
    """Our folder among the user's data; it may not be there yet, nor be writable.

    ``$XDG_DATA_HOME`` or ``~/.local/share`` (XDG base directory specification),
    ``~/Library/Application Support`` on macOS, ``%LOCALAPPDATA%`` on Windows; XDG_DATA_HOME counts
    on every system.
    """
    if given := given_folder(environment, "XDG_DATA_HOME"):
        return given / OWN
    home = home_folder()
    if system == "darwin":
        return home / "Library" / "Application Support" / OWN
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / OWN / "Data"
    return home / ".local" / "share" / OWN


def given_folder(environment: Mapping[str, str], variable: str) -> Path | None:
    """The folder that a variable of the XDG specification names, if it does."""
    given = environment.get(variable, "")
    # Others than absolute ones are to be ignored, says the specification.
    return Path(given) if given and Path(given).is_absolute() else None


def home_folder() -> Path:
    """The user's home, or ``~`` where there is none."""
    return Path(os.path.expanduser("~"))  # noqa: PTH111 - Path.home() raises where there is none
