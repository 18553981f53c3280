"""Files of `torch.save`, read without running anything; safe to load from anybody."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mednext_cli.foundation.errors import CheckpointError
from mednext_cli.foundation.names import LONGEST, shown, steers
from mednext_cli.networks.archive import Archive, open_archive
from mednext_cli.networks.survey import NUMPY, ForeignObjects, check_names, survey

_MOST_ENTRIES = 2_000_000
_DEEPEST = 50
_MOST_SHARING = 4  # tensors may share a storage, as tied weights do, but not make much of little
_START_BYTES = 2**20
_LINE_BREAKS = frozenset("\n\r\t")
_LONGEST_TEXT = 10_000
_PLAIN = (str, int, float, bool, bytes, type(None))


def load_tensors(path: Path) -> Any:  # noqa: ANN401 - whatever somebody saved
    """What `torch.save` wrote, if it is tensors, plain types and numpy's numbers; on the CPU.

    Ordered dictionaries come back as plain ones, parameters as tensors, devices as their names.

    Raises:
        CheckpointError: missing, unreadable, damaged, larger than what is stored of it, or holding
            other objects (which would run code of whoever made it).
    """
    try:
        return _load(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist", "Check the path.") from error
    except IsADirectoryError as error:
        raise CheckpointError(
            f"{path} is a folder", f"Give a file in it, such as {path / 'checkpoint_last.pt'}."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}", "Check it.") from error
    except ForeignObjects as error:
        raise _refusal(path, error) from error
    except zipfile.BadZipFile as error:
        raise _no_archive(path) from error
    except Exception as error:  # whatever a parser trips over, the file is to blame
        raise damage(path, str(error) if type(error) is ValueError else "") from error


def _load(path: Path) -> Any:  # noqa: ANN401 - whatever somebody saved
    archive = open_archive(path)
    survey(archive.structure, archive.storages)
    numpy_numbers: list[Any] = [(stand_in, name) for name, stand_in in NUMPY.items()]
    with warnings.catch_warnings(), torch.serialization.safe_globals(numpy_numbers):
        warnings.simplefilter("ignore")
        content = torch.load(path, map_location="cpu", weights_only=True)
    return _Plain(archive).made_of(content)


class _Plain:
    """Rebuilds what was loaded of plain types alone, and counts."""

    def __init__(self, archive: Archive) -> None:
        self._entries = _MOST_ENTRIES
        self._bytes = _MOST_SHARING * archive.size

    def made_of(self, value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - a stranger's file
        self._entries -= 1
        if depth > _DEEPEST or self._entries < 0:
            raise ValueError("its structure is endless")
        if isinstance(value, dict):
            return {
                self._key(key): self.made_of(inner, depth + 1) for key, inner in dict.items(value)
            }
        if isinstance(value, list | tuple):
            return (list if isinstance(value, list) else tuple)(
                self.made_of(inner, depth + 1) for inner in value
            )
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, torch.device):  # nnU-Net notes the one it trained on
            return str(value)
        if type(value) not in _PLAIN:
            raise ForeignObjects(type(value).__name__)
        return value

    def _key(self, key: Any) -> Any:  # noqa: ANN401 - a stranger's file
        if type(key) not in _PLAIN:
            raise ForeignObjects("a dictionary of objects")
        return key

    def _tensor(self, value: Tensor) -> Tensor:
        self._bytes -= value.numel() * value.element_size()
        if self._bytes < 0:
            raise ValueError("its tensors are larger than the file")
        return value.detach()


def check_texts(value: Any, where: str = "") -> None:  # noqa: ANN401 - a stranger's file
    """Raise `CheckpointError` where a text could steer a terminal, or a name is no name."""
    if isinstance(value, str) and (len(value) > _LONGEST_TEXT or steers(value)):
        raise _steering(where, value)
    if isinstance(value, dict):
        for key, inner in value.items():
            name = str(key)
            if len(name) > LONGEST or steers(name) or not _LINE_BREAKS.isdisjoint(name):
                raise _steering(f"the name of an entry of {where or 'the file'}", name)
            check_texts(inner, f"{where}.{name}" if where else name)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_texts(inner, where)


def _steering(where: str, value: str) -> CheckpointError:
    return CheckpointError(
        f"{where or 'a text'} holds {shown(value)}, which is too long or has control characters",
        "Take another copy of it.",
    )


def damage(path: Path, reason: str = "") -> CheckpointError:
    """The error for a damaged file, with what is left to use."""
    why = f": {reason}" if reason else ""
    return CheckpointError(f"{path} is damaged{why}", _way_out(path))


def _way_out(path: Path) -> str:
    names = ("checkpoint_best.pt", "checkpoint_last.pt")
    if path.name not in names:
        return "Take another copy of it."
    others = [path.with_name(name) for name in names if name != path.name]
    use = "".join(f"use {other}, " for other in others if other.is_file())
    text = f"{use}take another copy of it, or begin anew with mednext train --restart."
    return text[:1].upper() + text[1:]


def _no_archive(path: Path) -> CheckpointError:
    """Why it is no zip archive: a bare pickle of a stranger's objects, an old one, or anything."""
    with path.open("rb") as stream:
        start = stream.read(_START_BYTES)
    if not start.startswith(b"\x80"):
        return CheckpointError(f"{path} is damaged or no checkpoint at all", _way_out(path))
    try:
        check_names(start)
    except ForeignObjects as error:
        return _refusal(path, error)
    except Exception:
        return damage(path)  # no pickle after all
    return CheckpointError(
        f"{path} is a bare pickle, or of the form that PyTorch wrote before version 1.6",
        "Load it with PyTorch where you trust it, and torch.save its state_dict again.",
    )


def _refusal(path: Path, error: ForeignObjects) -> CheckpointError:
    return CheckpointError(
        f"{path} is refused: it holds pickled Python objects ({shown(str(error))}), which could "
        "run any code when loaded",
        "Use a checkpoint of mednext, or weights saved as tensors only.",
    )
