"""Choices that were measured before, in the user's cache folder: one file a machine and work."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

from mednext_cli.foundation.errors import MednextError, StorageError
from mednext_cli.foundation.files import read_json, write_json
from mednext_cli.foundation.locks import locked
from mednext_cli.foundation.user_cache import user_cache_folder
from mednext_cli.networks.mednext.kernels.measuring.choices import Choices, read_choices
from mednext_cli.networks.mednext.kernels.measuring.machine import Facts

logger = logging.getLogger(__name__)
_FILE = "choices.json"


def exists() -> bool:
    """Whether anything was ever measured and kept."""
    return _folder().is_dir()


def _folder() -> Path:
    return user_cache_folder() / "operators"


def cache_folder(key: Facts) -> Path:
    """Where the choices for this key lie."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return _folder() / digest[:32]


def load(key: Facts) -> Choices | None:
    """The choices that were measured; None where none were, or the file is damaged."""
    try:
        content = read_json(cache_folder(key) / _FILE)
    except MednextError:
        return None
    if not isinstance(content, dict) or content.get("key") != key:
        return None
    return read_choices(content.get("choices"))


def load_or(
    key: Facts, measure: Callable[[], Choices | None], anew: bool = False
) -> Choices | None:
    """The choices that are there, else those that are measured now, and kept.

    Of two processes one measures, and the other waits for it.

    Args:
        key: all that they depend on.
        measure: gives None where nothing could be measured, which is not kept.
        anew: measure even where choices are there.
    """
    folder = cache_folder(key)
    try:
        with locked(folder):
            return _load_or(key, measure, anew)
    except StorageError as error:
        if not error.message.startswith(str(folder)):
            raise
        logger.warning("%s: what is measured is not kept", error.message)
    return measure()


def _load_or(key: Facts, measure: Callable[[], Choices | None], anew: bool) -> Choices | None:
    if not anew and (kept := load(key)) is not None:
        return kept
    choices = measure()
    if choices is not None:
        write_json(cache_folder(key) / _FILE, {"key": key, "choices": choices.model_dump()})
    return choices
