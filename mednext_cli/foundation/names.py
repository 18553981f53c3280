"""Names that come out of files: classes, channels, cases, datasets. Checked at the door, once."""

import re

LONGEST = 255
LONGEST_FILE_BYTES = 240  # leaves room for suffixes within the usual 255
# Controls, what turns the reading direction, line and paragraph separators, half characters.
_STEERING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
_LINE_BREAKS = str.maketrans("\t\r\n", "   ")


def check_name(text: str) -> str:
    """The text itself, if it can be shown to people: not empty, not endless, nothing that steers.

    Raises:
        ValueError: it cannot.
    """
    if not text.strip():
        raise ValueError("an empty name")
    if len(text) > LONGEST:
        raise ValueError(f"{shown(text)} has {len(text)} characters, more than {LONGEST}")
    if _STEERING.search(text):
        raise ValueError(f"{shown(text)} holds a control character")
    return text


def check_file_name(text: str) -> str:
    """The text itself, if a file or folder of this name lies where it is put.

    Raises:
        ValueError: it leads elsewhere, or is too long for a file system.
    """
    check_name(text)
    if text in (".", "..") or "/" in text or "\\" in text:
        raise ValueError(f"{shown(text)} leads to another folder")
    if len(text.encode()) > LONGEST_FILE_BYTES:
        raise ValueError(f"{shown(text)} is longer than {LONGEST_FILE_BYTES} bytes")
    return text


def steers(text: str) -> bool:
    """Whether a text of several lines holds more than text: an escape, a change of direction."""
    return _STEERING.search(text.translate(_LINE_BREAKS)) is not None


def shown(value: object, longest: int = 60) -> str:
    """A value as a message shows it: short, and every control character written out."""
    text = repr(value)  # which escapes all that is not printable
    return text if len(text) <= longest else f"{text[: longest - 4]}..."
