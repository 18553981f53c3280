"""What a folder of label maps must not become: a mixture, or the end of somebody's scans."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mednext_cli.datasets.dataset import Case
from mednext_cli.foundation.errors import SettingsError
from mednext_cli.inference.findings.files import CaseFiles
from mednext_cli.inference.record_file import RECORD_NAME, RecordContent, Settings

_FEW = 5


@dataclass(frozen=True)
class FolderRules:
    """The rules of one run.

    Attributes:
        folder: of the label maps.
        settings: what decides those of this run.
        key: of the settings, as entries of the record name it.
        force: whether label maps that are there are made anew.
    """

    folder: Path
    settings: Settings
    key: str
    force: bool

    def refuse_mixing(self, content: RecordContent, given: Collection[str]) -> None:
        """Refuse a folder that was made with other settings.

        Args:
            content: of the folder's record.
            given: ids of the cases of this run.

        Raises:
            SettingsError: it was, and not all of its label maps would be made anew.
        """
        if content.settings == self.settings:
            return
        others = self._made_otherwise(content)
        if others and not self.force:
            raise SettingsError(
                self._refusal(content), "Choose another --out, or add --force to make them anew."
            )
        if left := [name for name in others if name not in given]:
            raise SettingsError(
                f"{self._refusal(content)}; --force would leave {_few(left)} as they are",
                "Give all of these cases, or choose another --out.",
            )

    def refuse_replacing(
        self, content: RecordContent, cases: Iterable[Case], there: Collection[str]
    ) -> None:
        """Refuse to write over a scan, or over what is not ours.

        Args:
            content: of the folder's record.
            cases: of this run.
            there: ids of those that have a label map.

        Raises:
            SettingsError: a label map would.
        """
        for case in cases:
            path = CaseFiles(self.folder, case.id).label_map
            if any(_same(path, channel.path) for channel in case.channels):
                raise SettingsError(
                    f"{path} is the scan: its label map would replace it", "Choose another --out."
                )
        foreign = [name for name in there if name not in content.cases]
        if foreign and not self.force:
            raise SettingsError(
                f"{CaseFiles(self.folder, min(foreign)).label_map} is there, and not made by "
                "mednext predict",
                "Choose another --out, or add --force to replace it.",
            )

    def differing(self, content: RecordContent) -> str:
        """The settings in which the folder differs from this run, by name."""
        known = content.settings or {}
        every = known.keys() | self.settings.keys()
        return " and ".join(
            sorted(key for key in every if known.get(key) != self.settings.get(key))
        )

    def _refusal(self, content: RecordContent) -> str:
        if content.settings is None:
            return (
                f"{self.folder / RECORD_NAME} is damaged, so what the label maps there were made "
                "with is not known"
            )
        return f"{self.folder} holds predictions made with other {self.differing(content)}"

    def _made_otherwise(self, content: RecordContent) -> list[str]:
        return sorted(
            name
            for name, entry in content.cases.items()
            if entry.made_with != self.key
            and CaseFiles(self.folder, Path(name).name).label_map.exists()
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")


def _same(path: Path, other: Path) -> bool:
    with suppress(OSError):
        return path.exists() and other.exists() and path.samefile(other)
    return False
