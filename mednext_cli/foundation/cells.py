r"""Texts that come from outside - file names, labels, messages - as cells of a table.

A name may hold what a terminal obeys (``\x1b[2J``), and a spreadsheet runs a cell that begins with
``=``, ``+``, ``-`` or ``@``. Both are made harmless here, and `read_cell` gives the text back.
"""

import re
from numbers import Number

_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # or illegal in XML
_LIKE_SHOWN = r"\\(?=x[0-9a-f]{2}|u[0-9a-f]{4})"
_SHOWN = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_BACKSLASH = "\\"
_FORMULA = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20]")  # of full width as well
_QUOTED = re.compile("'" + _FORMULA.pattern)


def show_controls(text: str) -> str:
    r"""A text whose control characters are spelled out: ``\x1b`` for an escape."""
    return _UNPRINTABLE.sub(_spell, text)


def to_cell(value: object, digits: int | None = None) -> object:
    """A value as a cell of a CSV file: numbers stay, None is empty, texts are made harmless.

    Control characters are spelled out, and an apostrophe goes before what a spreadsheet would
    take for a formula. Floats are rounded to so many significant `digits`, if any.
    """
    if digits is not None and isinstance(value, float):
        return f"{value:.{digits}g}"
    if value is None or isinstance(value, Number):
        return "" if value is None else value
    text = show_controls(re.sub(_LIKE_SHOWN, lambda _: r"\x5c", str(value)))
    return f"'{text}" if _FORMULA.match(text) else text


def read_cell(cell: str) -> str:
    """The text that `to_cell` made a cell of; a cell of another tool stays as it is."""
    text = cell[1:] if _QUOTED.match(cell) else cell
    return _SHOWN.sub(_unspell, text)


def _spell(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _unspell(found: re.Match[str]) -> str:
    letter = chr(int(found[1] or found[2], 16))
    return letter if letter == _BACKSLASH or _UNPRINTABLE.match(letter) else found[0]
