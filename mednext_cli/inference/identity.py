"""Which scan a label map was made from: by content, wherever its files lie."""

from dataclasses import dataclass, replace
from enum import Enum

from mednext_cli.datasets.dataset import Case, Channel
from mednext_cli.foundation.errors import ScanError
from mednext_cli.preprocessing.stamps import (
    Stamps,
    content_key,
    content_of,
    files_of,
    take_stamps,
)


class Comparison(Enum):
    """What a scan is to one of the same name that was predicted before."""

    SAME = "the same scan, moved, copied or not"
    CHANGED = "the same file or folder with other content"
    ANOTHER = "another scan"


@dataclass(frozen=True)
class Identity:
    """The scan of a case.

    Attributes:
        places: path of each channel, symbolic links followed.
        status: hash of the paths, sizes and times of all files, so that most are not read again;
            None where they were too recent to rely on.
        content: hash of what the files hold; None where an older mednext did not take it.
    """

    places: tuple[str, ...]
    status: str | None
    content: str | None


class Identities:
    """The identities of the cases at hand, each read once.

    Taken before a scan is read for prediction: one that changes meanwhile is then known to differ.
    """

    def __init__(self) -> None:
        self._known: dict[str, Identity] = {}

    def of(self, case: Case) -> Identity:
        """Read and hash the files of a case.

        Raises:
            ScanError: one is missing or unreadable.
        """
        if case.id not in self._known:
            images = _images(case)
            stamps = take_stamps(images)
            content = content_key(content_of(images, stamps))
            self._known[case.id] = Identity(_places(images), _status_of(stamps), content)
        return self._known[case.id]

    def compare(self, case: Case, known: Identity) -> Comparison:
        """Compare a case with the one of its name that was predicted before.

        Raises:
            ScanError: a file is missing or unreadable.
        """
        images = _images(case)
        if known.status == _status_now(images, changed=known.content is not None):
            return Comparison.SAME
        if known.content is not None and self.of(case).content == known.content:
            return Comparison.SAME
        there = _places(images) == known.places
        return Comparison.CHANGED if there else Comparison.ANOTHER


def status_key(files: list[list[str | int]]) -> str:
    """Hash of files, each its path and numbers of its status."""
    return content_key(files)


def _status_of(stamps: Stamps) -> str | None:
    if any(not stamp.modified_ns for stamp in stamps.values()):
        return None
    return status_key(
        [[path, stamp.size, stamp.modified_ns, stamp.changed_ns] for path, stamp in stamps.items()]
    )


def _status_now(images: Case, changed: bool) -> str:
    """As `_status_of`, from the files' status alone; `changed`: with the time of its change."""
    files: list[list[str | int]] = []
    for path in files_of(images):
        try:
            status = path.stat()
        except OSError as error:
            raise ScanError(f"{path} cannot be read: {error.strerror}", "Check it.") from error
        times = [status.st_mtime_ns, status.st_ctime_ns][: 1 + changed]
        files.append([str(path.absolute()), status.st_size, *times])
    return status_key(files)


def _images(case: Case) -> Case:
    """Without its label, which prediction does not look at, and with links followed."""
    channels = tuple(Channel(channel.path.resolve(), channel.index) for channel in case.channels)
    return replace(case, channels=channels, label=None, masks=None)


def _places(case: Case) -> tuple[str, ...]:
    return tuple(str(channel.path) for channel in case.channels)
