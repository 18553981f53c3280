"""Text from files, made fit for a terminal, a table or a page."""

import unicodedata

# Categories of what steers a terminal or turns the reading direction, rather than being read.
_STEERING = {"Cc", "Cf", "Zl", "Zp", "Cs"}
_JOINERS = {"\u200c", "\u200d"}  # spelling of Persian and Indic names, and of emoji


def printable(text: str) -> str:
    r"""The text with every control character written out (``\x1b``, ``\u202e``).

    Names of files, cases and classes come from anywhere; printed as they are they could recolour a
    terminal, break the lines of a table or hide what follows. Line breaks and tabs count too.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _steers(character) else character for character in text)


def _steers(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _STEERING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
