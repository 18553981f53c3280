"""A stranger's package: one command, two dataset layouts; and see mednext_good_network."""

from pathlib import Path

import typer

from mednext_cli.commands.options import Quiet, Verbose
from mednext_cli.datasets.dataset import Case, Channel, Dataset
from mednext_cli.settings.labels import LabelSet


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


class PairsLayout:
    """``scans/CASE.nii.gz`` and ``truth/CASE.nii.gz``."""

    description = "scans and truth in two folders"
    label_set: LabelSet | None = LabelSet({"ball": 1, "box": 2}, {"ball": (1,), "box": (2,)})

    def recognises(self, raw: Path) -> bool:
        return (raw / "truth").is_dir()

    def read(self, raw: Path) -> Dataset:
        cases = []
        for path in sorted((raw / "scans").glob("*.nii.gz")):
            truth = raw / "truth" / path.name
            name = path.name.removesuffix(".nii.gz")
            cases.append(Case(name, (Channel(path),), truth if truth.is_file() else None))
        assert self.label_set is not None
        return Dataset(raw.name, "pairs", ("MRI",), self.label_set, tuple(cases))


LAYOUT = FlatLayout()
PAIRS = PairsLayout()
