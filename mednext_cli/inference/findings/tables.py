"""Tables of a folder of predictions, joined from those of single cases."""

from pathlib import Path

from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_text, write_text
from mednext_cli.inference.findings.files import CaseFiles


def join_tables(folder: Path, name: str) -> None:
    """Join the tables of single cases, ``NAME/CASE.csv``, into ``NAME.csv``.

    Each case has a file, so that several processes write theirs without reading the others'.

    Args:
        folder: of the predictions.
        name: `files.VOLUMES` or `files.CHANGES`.

    Raises:
        DatasetError: a table cannot be read. StorageError: the disk refuses.
    """
    found = sorted((folder / name).glob("[!.]*.csv"))
    parts = [path for path in found if CaseFiles(folder, path.stem).label_map.is_file()]
    texts = [text for path in parts if (text := _read(path)) is not None]
    joined = folder / f"{name}.csv"
    if not texts:
        joined.unlink(missing_ok=True)
        return
    header = texts[0].partition("\n")[0]
    bodies = [text.partition("\n")[2] for text in texts]
    write_text(joined, f"{header}\n{''.join(bodies)}")


def _read(path: Path) -> str | None:
    """None where another process has just taken it away, to make the case anew."""
    try:
        return read_text(path)
    except DatasetError:
        if path.exists():
            raise
        return None
