"""Folders of files that belong together: written beside, and put in place as a whole."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mednext_cli.foundation.files import make_folder, storage_error
from mednext_cli.foundation.leftovers import name_beside, remove_leftovers


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `path`, which takes its place on success; else nothing changes.

    What was at `path` goes once the new folder is there. A run that is killed between leaves none
    there, never a mixture; what it left beside it goes the next time.

    Raises:
        StorageError: the disk refuses.
    """
    remove_leftovers(path.parent)
    beside, old = name_beside(path), name_beside(path)
    try:
        make_folder(beside)
        yield beside
        if path.exists():
            path.rename(old)
        try:
            beside.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    except OSError as error:
        if error.errno is None:
            raise
        raise storage_error(path, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        if path.exists():  # else what was there could not be put back, and is the only copy
            shutil.rmtree(old, ignore_errors=True)
