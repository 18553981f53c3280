"""A file for libraries that fare badly when the disk refuses."""

import os
from io import FileIO
from pathlib import Path
from types import TracebackType


class LatchedFile:
    """A new binary file that keeps the disk's first refusal, and from then on pretends to write.

    HDF5 (2.0) crashes the process when it closes a file that the disk took only in part, and says
    little of the reason. It writes to this instead (h5py: ``File(LatchedFile(path), "w")``) and
    ends in good order; `check` tells afterwards.

    Args:
        path: the file, replaced where it is there.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._file = FileIO(path, "w+")
        self._refusal: OSError | None = None

    def __enter__(self) -> "LatchedFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def check(self) -> None:
        """Raise the OSError with which the disk refused, if it did."""
        if self._refusal is not None:
            raise self._refusal

    def write(self, data: memoryview | bytes) -> int:
        """Write all of it, or nothing once the disk has refused."""
        left = memoryview(data).cast("B")
        while self._refusal is None and len(left):
            try:
                left = left[self._file.write(left) or 0 :]
            except OSError as error:
                self._refusal = error
        return memoryview(data).nbytes

    def read(self, size: int = -1) -> bytes:
        """As many bytes from where the file stands, as far as it goes."""
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Where the file stands."""
        return self._file.tell()

    def truncate(self, size: int) -> int:
        """Cut the file, or let it grow."""
        try:
            self._file.truncate(size)
        except OSError as error:
            self._refusal = self._refusal or error
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Close it; network disks refuse as late as here."""
        try:
            self._file.close()
        except OSError as error:
            self._refusal = self._refusal or error
