"""Tables of a folder of predictions, joined from those of single cases."""

from pathlib import Path

from mednext_cli.foundation.files import write_text
from mednext_cli.inference.findings.files import CaseFiles


def join_tables(folder: Path, name: str) -> None:
    """Join the tables of single cases, ``NAME/CASE.csv``, into ``NAME.csv``.

    Each case has a file, so that several processes write theirs without reading the others'.

    Args:
        folder: of the predictions.
        name: `files.VOLUMES` or `files.CHANGES`.

    Raises:
        StorageError: the disk refuses.
    """
    found = sorted((folder / name).glob("[!.]*.csv"))
    parts = [path for path in found if CaseFiles(folder, path.stem).label_map.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in parts]
    joined = folder / f"{name}.csv"
    if not texts:
        joined.unlink(missing_ok=True)
        return
    header = texts[0].partition("\n")[0]
    bodies = [text.partition("\n")[2] for text in texts]
    write_text(joined, f"{header}\n{''.join(bodies)}")
