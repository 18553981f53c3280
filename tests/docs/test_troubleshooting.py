"""The messages that docs/troubleshooting.md explains are those that the code says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.contracts.conftest import ROOT, python_files

_VALUE = "…"


def test_every_quoted_message_is_in_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `(.+?)` \|", page, flags=re.MULTILINE)
    said = [text for path in python_files("mednext_cli") for text in _texts(path)]
    said.append((ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(quoted) > 35
    assert [one for one in quoted if not any(_says(text, one) for text in said)] == []


def _says(text: str, quoted: str) -> bool:
    parts = [re.escape(part) for part in re.split(rf"\s*{_VALUE}\s*", quoted) if part]
    return re.search(r".{0,80}".join(parts), text) is not None


def _texts(path: Path) -> Iterator[str]:
    """Every text of a module; what is put into it, and % fields, as an ellipsis."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else _VALUE
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%(?:\.\d+)?[a-z]", _VALUE, node.value)
