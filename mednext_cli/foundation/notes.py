"""What is odd about many cases, said without a flood of lines."""

import logging
import re
from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)
_SHOWN = 3  # of each kind
_ITS_OWN = re.compile(r"^.*?: |\([^)]*\)|\d[\d.e+-]*")  # file name, examples and numbers


def say_notes(notes: Mapping[str, Sequence[str]], advice: str = "") -> None:
    """Warn of what is odd, by case: of each kind the first few, then how many more there are.

    Args:
        notes: lines by case id, most of them ``FILE: what is odd``.
        advice: said of those that are not shown.
    """
    kinds: dict[str, list[tuple[str, str]]] = {}
    for case_id, lines in notes.items():
        for line in dict.fromkeys(lines):
            kinds.setdefault(_ITS_OWN.sub("", line), []).append((case_id, line))
    for found in kinds.values():
        shown = _SHOWN if len(found) > _SHOWN + 1 else len(found)  # one more takes a line as well
        for case_id, line in found[:shown]:
            logger.warning("%s: %s", case_id, line)
        if more := found[shown:]:
            cases = len({case_id for case_id, _ in more})
            end = f": {advice}" if advice else ""
            logger.warning("%d more lines like that, of %d cases%s", len(more), cases, end)
