"""What the tests read out of the Markdown pages."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: after the fence.
        text: its lines.
        not_run: why the tests leave it alone, from a comment ``<!-- not run: ... -->`` above it.
    """

    language: str
    text: str
    not_run: str | None

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block; a line that ends in a backslash goes on."""
        joined = self.text.replace("\\\n", " ")
        return [line for line in joined.splitlines() if line.strip() and line[0] != "#"]


def read_blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        marked = _NOT_RUN.search(text[: match.start()])
        yield Block(match[1], match[2], marked[1] if marked else None)
