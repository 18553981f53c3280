"""A stranger's package: one command, one dataset layout."""

from pathlib import Path

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.datasets.dataset import Case, Channel, Dataset, LabelSet


def greet(name: str, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Say hello.

    Example: mednext greet Ada
    """
    typer.echo(f"hello {name}")


class FlatLayout:
    """Scans beside each other."""

    description = "scans beside each other, without labels"
    label_set: LabelSet | None = None

    def recognises(self, raw: Path) -> bool:
        return any(raw.glob("*.nii.gz"))

    def read(self, raw: Path) -> Dataset:
        cases = tuple(Case(path.name, (Channel(path),)) for path in sorted(raw.glob("*.nii.gz")))
        return Dataset(raw.name, "flat", ("CT",), LabelSet({}, {}), cases)


LAYOUT = FlatLayout()
