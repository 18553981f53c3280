"""What label maps were made from and with: done ones are kept, others are never mixed with them.

Several processes may fill one folder. What they know is in ``predict.json``, which each changes
under the folder's lock, after it has read what the others wrote.
"""

import logging
import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import Enum
from importlib.metadata import version
from pathlib import Path

from mednext_cli import __version__
from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import MednextError, SettingsError, StorageError
from mednext_cli.foundation.leftovers import remove_leftovers
from mednext_cli.foundation.locks import locked, remove_lock
from mednext_cli.inference.claims import Claims, has_traces
from mednext_cli.inference.findings.files import (
    CHANGES,
    DICOM,
    PREVIEWS,
    VOLUMES,
    CaseFiles,
    Wanted,
)
from mednext_cli.inference.folder_rules import FolderRules
from mednext_cli.inference.identity import Comparison, Identities
from mednext_cli.inference.record_file import (
    Entry,
    LatestRecord,
    RecordContent,
    Settings,
    read_record,
    settings_key,
    write_record,
)

logger = logging.getLogger(__name__)


class Standing(Enum):
    """What a process may do about a case."""

    MINE = "claimed: to be predicted"
    UNDESCRIBED = "claimed: its label map is there, what is made of that is not"
    DONE = "its label map is there, and all that is wanted beside it"
    ELSEWHERE = "another process is at it"


class PredictionRecord:
    """The folder of the label maps, shared with other processes.

    Args:
        folder: of the label maps.
        settings: what decides the label maps; plain JSON.
        provenance: what else is worth knowing later (paths of the models, engine, device).
        wanted: what a case needs beside its label map to be done.
        force: make label maps anew that are there.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        provenance: Settings,
        wanted: Wanted = Wanted(),  # noqa: B008 - frozen
        force: bool = False,
    ) -> None:
        self._folder, self._settings, self._key = folder, settings, settings_key(settings)
        versions = {"versions": _versions()}
        self._provenance = provenance | versions
        self._wanted, self._force = wanted, force
        self._rules = FolderRules(folder, settings, self._key, force)
        self._claims = Claims(folder)
        self._identities = Identities()
        self._content = RecordContent(exists=False)
        self._latest = LatestRecord(folder)

    def check(self, cases: Sequence[Case]) -> None:
        """Refuse what would mix settings or replace what is not ours; writes nothing.

        Raises:
            SettingsError: the folder was made with other settings, its record cannot be read, or a
                label map would replace a scan or a file that `mednext predict` did not write.
        """
        there = [case for case in cases if self.files(case).label_map.exists()]
        self._content = read_record(self._folder)
        self._rules.refuse_mixing(self._content, {case.id for case in cases})
        self._rules.refuse_replacing(self._content, cases, {case.id for case in there})

    def begin(self, cases: Sequence[Case]) -> None:
        """Take part in filling the folder, until `end`; from here on it has these settings only.

        Raises:
            SettingsError: as `check`; or another run is filling it with other settings.
            StorageError: the folder cannot be written.
        """
        with locked(self._folder, briefly=True):
            self.check(cases)
            content = self._content
            differ = content.exists and content.settings != self._settings
            alone = not self._claims.others_run()
            if differ and not alone:
                raise SettingsError(
                    f"another run is filling {self._folder} with other "
                    f"{self._rules.differing(content)}",
                    "Wait until it ends, or choose another --out.",
                )
            self._claims.join()
            remove_leftovers(self._folder, alone=alone)
            if differ:
                content.again = set()
            if self._force:
                self._plan_again({case.id for case in cases})
            content.settings, content.provenance = self._settings, self._provenance
            write_record(self._folder, content)

    def end(self) -> None:
        """Let others take what is claimed; the last one to work here removes the traces.

        Also what killed ones have left half-written on this machine: where all is done, no later
        run begins, and so tidies up.
        """
        try:
            with locked(self._folder, briefly=True):
                if self._claims.leave():
                    # Folders of single cases are tidied by whoever takes the case over.
                    for below in ("", VOLUMES, CHANGES, PREVIEWS, DICOM):
                        remove_leftovers(self._folder / below)
                    remove_lock(self._folder)
        except StorageError:  # the disk is gone, which was said before
            self._claims.abandon()

    def is_done(self, case: Case) -> bool:
        """Whether the case's label map is there and was made just so from the same scan, and all
        that is wanted is beside it.

        Raises:
            SettingsError: it was made from another scan of the same name.
            ScanError: the scan is missing or unreadable.
        """
        return self._standing(case) is Standing.DONE

    def _standing(self, case: Case) -> Standing:
        files = self.files(case)
        if not self._is_labelled(case) or not _all_there(self._wanted.of_networks(files)):
            return Standing.MINE
        described = _all_there(self._wanted.of_labels(files)) and self._has_seeds(case)
        return Standing.DONE if described else Standing.UNDESCRIBED

    def _has_seeds(self, case: Case) -> bool:
        """Whether the DICOM objects that are wanted were written with the seed that is."""
        known = self._content.cases[case.id].uid_seeds
        return all(known.get(kind) == self._wanted.uid_seed for kind in self._wanted.dicom)

    def _is_labelled(self, case: Case) -> bool:
        """Whether the label map is the one that would be made."""
        entry = self._content.cases.get(case.id)
        if entry is None or not self.files(case).label_map.is_file():
            return False
        if case.id in self._content.again and self._force:
            return False
        if entry.identity is None:
            return False
        compared = self._identities.compare(case, entry.identity)
        if compared is Comparison.ANOTHER and not self._force:
            raise SettingsError(
                f"{self.files(case).label_map} was made from another scan, {entry.places[0]}",
                "Choose another --out, or add --force to replace it.",
            )
        same = compared is Comparison.SAME and entry.made_with == self._key
        return same and case.id not in self._content.again

    def is_open(self, case: Case) -> bool:
        """Whether anything is to be done about the case; what is wrong with it is told then."""
        try:
            return self._force or not self.is_done(case)
        except MednextError:
            return True

    def claim(self, case: Case) -> Standing:
        """See what is to be done about a case, and claim it if nobody is at it.

        Raises:
            SettingsError, ScanError: as `is_done`.
        """
        if case.id in self._content.cases:  # hash it now, if need be, and not under the lock
            with suppress(SettingsError):
                self.is_done(case)
        with self._changing(write=False):
            standing = self._standing(case)
            if standing is Standing.DONE or self._claims.take(case.id):
                return standing
            return Standing.ELSEWHERE

    def release(self, case: Case) -> None:
        """End the claim on a case, whatever became of it."""
        with self._changing(write=False):
            self._claims.give_back(case.id)

    def identify(self, case: Case) -> None:
        """Take the identity of a case that is about to be read.

        Raises:
            ScanError: a file is missing or unreadable.
        """
        self._identities.of(case)

    def prepare_writing(self, case: Case) -> None:
        """Note that the case's files are about to be replaced: until `note`, they are not done."""
        with self._changing() as content:
            known = content.cases.get(case.id, Entry())
            content.cases[case.id] = replace(known, made_with=None)

    def note(self, case: Case, seconds: float) -> None:
        """A case is done; the record is written at once.

        Args:
            case: the case.
            seconds: the networks took for it.
        """
        seen = self._identities.of(case)
        with self._changing() as content:
            content.cases[case.id] = Entry(
                *(seen.places, seen.status, seen.content, self._key, round(seconds, 3)),
                uid_seeds=self._seeds(),
            )
            content.again.discard(case.id)

    def prepare_describing(self, case: Case) -> None:
        """Note that DICOM objects are about to be replaced: until `note_described`, nobody knows
        which seed theirs is.
        """
        if not self._wanted.dicom:
            return
        with self._changing() as content:
            known = content.cases[case.id]
            others = {
                kind: seed
                for kind, seed in known.uid_seeds.items()
                if kind not in self._wanted.dicom
            }
            content.cases[case.id] = replace(known, uid_seeds=others)

    def note_described(self, case: Case) -> None:
        """What is made of a label map was made now."""
        if not self._wanted.dicom:
            return
        with self._changing() as content:
            known = content.cases[case.id]
            content.cases[case.id] = replace(known, uid_seeds=known.uid_seeds | self._seeds())

    def _seeds(self) -> dict[str, str]:
        return dict.fromkeys(self._wanted.dicom, self._wanted.uid_seed)

    def give_up(self, case: Case) -> None:
        """The case failed: ``--force`` has nothing more to do for it."""
        with self._changing() as content:
            content.again.discard(case.id)

    def done_ids(self) -> list[str]:
        """Of all cases whose label map is there and was made just so, by whichever run."""
        content = read_record(self._folder)
        return [
            name
            for name, entry in sorted(content.cases.items())
            if entry.made_with == self._key
            and name not in content.again
            and Path(name).name == name  # a record may come from anywhere
            and CaseFiles(self._folder, name).label_map.is_file()
        ]

    def files(self, case: Case) -> CaseFiles:
        """Where the case's files belong."""
        return CaseFiles(self._folder, case.id)

    @property
    def is_untidy(self) -> bool:
        """Whether a run works in the folder, or was killed there."""
        return has_traces(self._folder)

    @contextmanager
    def _changing(self, *, write: bool = True) -> Iterator[RecordContent]:
        """The record as it is now, under the folder's lock; written back at the end."""
        with locked(self._folder, briefly=True):
            self._content = self._latest.read()
            try:
                yield self._content
                if write:
                    self._latest.write(self._content)
            except BaseException:
                self._latest.forget()
                raise

    def _plan_again(self, given: set[str]) -> None:
        """Every label map there is made anew; a forced run that stands unfinished is carried on."""
        content = self._content
        left = content.again & given
        if left:
            logger.info("carrying on with --force: %d label maps are left to make anew", len(left))
        else:
            content.again |= given & content.cases.keys()


def _all_there(paths: Iterable[Path]) -> bool:
    return all(path.is_file() for path in paths)


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "numpy", "nibabel")}
    return {"mednext": __version__, "python": platform.python_version(), **packages}
