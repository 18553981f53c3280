"""What became of a run of an experiment, as it is on disk beside the run."""

import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from mednext_cli.experiments.layout import ExperimentFolder, RunKey
from mednext_cli.foundation.errors import DatasetError
from mednext_cli.foundation.files import read_json, write_text
from mednext_cli.settings.values import Flag, Frozen, Name, NotNegative

_Count = Annotated[int, Field(strict=True, ge=0)]


def _new_token() -> str:
    return secrets.token_hex(8)


class WholeNote(Frozen):
    """A run that was trained and validated.

    Attributes:
        folder: of the run, below the experiment's.
        device: it was trained on.
        threads: that computed, on a CPU.
        minutes: of steps and of waiting for their batches.
        all_minutes: of training with validation on patches and saving, over all sessions.
        steps: of the optimiser.
        parameters: trainable.
        peak_gib: see the column of experiment.csv.
        token: tells this training from another of the same run; "" in notes of earlier versions.
        start_token: that of the run it began from, as that was then; "" without one.
    """

    status: Literal["whole"] = "whole"
    version: Literal[1] = 1
    folder: str
    device: Name
    threads: _Count
    minutes: NotNegative
    all_minutes: NotNegative
    steps: _Count
    parameters: _Count
    peak_gib: NotNegative
    token: str = Field(default_factory=_new_token)
    start_token: str = ""

    def is_behind(self, start: "Note | None") -> bool:
        """Whether the run it began from has been trained anew since."""
        if not isinstance(start, WholeNote) or not self.start_token or not start.token:
            return False
        return self.start_token != start.token


class FailedNote(Frozen):
    """A run that did not come to its end; the next call of the command tries it again.

    Attributes:
        reason: one line.
        ours: whether by a fault of ours, which no user can put right.
        token: tells this failure from an earlier one.
    """

    status: Literal["failed"] = "failed"
    version: Literal[1] = 1
    reason: str
    ours: Flag = False
    token: str = Field(default_factory=_new_token)


Note = WholeNote | FailedNote


def read_note(folder: ExperimentFolder, key: RunKey) -> Note | None:
    """What became of a run; None where it is to be done, or nobody can read what is said of it."""
    path = folder.note(key)
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        kind = WholeNote if content.get("status") == "whole" else FailedNote
        note: Note = kind.model_validate({"token": "", **content})
    except (DatasetError, AttributeError, ValidationError):
        return None
    if isinstance(note, WholeNote) and not cases_file(folder, note).is_file():
        return None
    return note


def read_token(path: Path) -> str:
    """The token in the file of a note; "" where there is none."""
    try:
        return str(read_json(path).get("token", ""))
    except (DatasetError, AttributeError):
        return ""


def write_note(folder: ExperimentFolder, key: RunKey, note: Note) -> None:
    """Note what became of a run.

    Raises:
        StorageError: the disk refuses.
    """
    write_text(folder.note(key), note.model_dump_json(indent=1) + "\n")


def cases_file(folder: ExperimentFolder, note: WholeNote) -> Path:
    """The scores of a run's cases."""
    return folder.path / note.folder / "validation" / "cases.csv"
