"""The folder of an experiment, and what lies where in it."""

from dataclasses import dataclass
from pathlib import Path

RESULTS = ("experiment.csv", "comparison.csv", "report.html")


@dataclass(frozen=True, order=True)
class RunKey:
    """Which run of an experiment."""

    arm: str
    seed: int
    fold: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.arm}, seed {self.seed}, fold {self.fold}"


@dataclass(frozen=True)
class ExperimentFolder:
    """``OUT/`` and what is in it."""

    path: Path

    @property
    def experiment(self) -> Path:
        """The experiment as it was begun; `mednext experiment` takes it."""
        return self.path / "experiment.toml"

    def recipe(self, arm: str) -> Path:
        """The resolved training recipe of an arm, which the experiment names."""
        return self.path / "recipes" / f"{arm}.toml"

    def runs(self, key: RunKey) -> Path:
        """What `mednext train` calls --runs: below it lies the run's own folder."""
        return self.path / "runs" / key.arm / f"seed{key.seed}"

    @property
    def transfer(self) -> "ExperimentFolder":
        """What the trained arms are on another dataset, laid out likewise."""
        return ExperimentFolder(self.path / "transfer")

    def note(self, key: RunKey) -> Path:
        """What became of a run."""
        return self.runs(key) / f"fold{key.fold}.json"
