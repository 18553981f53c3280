"""Names of files and cases from outside: which are junk, which are refused, which are the same."""

import os
import reprlib
import unicodedata

from mednext_cli.foundation.names import LONGEST_FILE_BYTES, check_file_name

_LONGEST_NAME = 255  # bytes, of nearly all file systems
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlist, _SHORT.maxdict = 2, 80, 8, 8
_STEERING = {"Cc", "Zl", "Zp"}  # what breaks lines or steers a terminal
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_OF_MACOS = {"Icon\r", "__MACOSX"}


def composed(name: str) -> str:
    """The name in Unicode's composed form; macOS writes letters and accents apart."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_hidden(name: str) -> bool:
    """Whether a name is hidden, or junk that macOS leaves behind."""
    return name.startswith(".") or name in _OF_MACOS


def problem_of_name(name: str) -> str:
    """Why a file of this name is refused; "" for a good one."""
    if any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python holds stray bytes
        return "which is not UTF-8"
    if any(
        unicodedata.category(character) in _STEERING or character in _TURNING for character in name
    ):
        return "which has control characters"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        return f"which is longer than {_LONGEST_NAME} bytes"
    return ""


def problem_of_id(case_id: str) -> str:
    """Why a case cannot have this id; "" for a good one."""
    if not case_id.strip() or case_id.startswith(".") or "/" in case_id or "\\" in case_id:
        return "cannot name a case"
    if problem := problem_of_name(case_id):
        return f"cannot name a case: it is a name {problem}"
    if len(os.fsencode(case_id)) > LONGEST_FILE_BYTES:
        return f"cannot name a case: it is longer than {LONGEST_FILE_BYTES} bytes"
    try:
        check_file_name(case_id)
    except ValueError as error:
        return f"cannot name a case: {error}"
    return ""


def shortened(value: object) -> str:
    """A value from outside for a message: quoted, escaped, and of a long one the ends."""
    return _SHORT.repr(value)
