"""What is refused before a run takes any time or leaves any file."""

import os
import unicodedata

from mednext_cli.cache.reader import CachedDataset
from mednext_cli.foundation.errors import CacheError
from mednext_cli.volumes.scans import LABEL_SUFFIX

_LONGEST_NAME = 255  # bytes, on every common file system


def check_names(cached: CachedDataset) -> None:
    """Refuse a cache whose dataset or cases would name files outside the run's folder.

    Raises:
        CacheError: such a name, or one that is too long for a label map's file.
    """
    for name in (cached.name, *cached.case_ids):
        if not _is_file_name(name):
            raise CacheError(
                f"{cached.folder / 'dataset.json'}: {name!a} cannot be the name of a file",
                "Do not use caches of unknown origin; make it anew with mednext preprocess.",
            )
        if len(os.fsencode(name + LABEL_SUFFIX)) > _LONGEST_NAME:
            raise CacheError(
                f"{cached.folder / 'dataset.json'}: the name {name[:40]}... is longer than the "
                f"{_LONGEST_NAME - len(LABEL_SUFFIX)} bytes that a file may have",
                "Rename the raw files and run mednext preprocess again.",
            )


def _is_file_name(name: str) -> bool:
    """Hidden names, `..` among them, are nobody's; control characters steer a terminal."""
    plain = not set(name) & {"/", "\\"} and not name.startswith(".") and name != ""
    return plain and not any(unicodedata.category(letter) == "Cc" for letter in name)
