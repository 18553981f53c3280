"""The command lines and Python of README.md and docs/ are run, page by page, on made-up scans."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

import mednext_cli
from mednext_cli.app import main
from tests.contracts.conftest import ROOT
from tests.docs.markdown import Block, read_blocks
from tests.docs.scenes import SCENES, shortened, shortened_recipe

_GENERATED = {"command_line.md", "csv_columns.md", "recipe_keys.md"}
_PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if path.name not in _GENERATED
)
_NOT_RUN = 12  # pip, make, Docker, Slurm, trainings, the sheets of two pages, MONAI, int8


def _shell_blocks(page: str) -> list[Block]:
    return [block for block in read_blocks(ROOT / page) if block.language == "sh"]


def _is_run(page: str) -> bool:
    return any(block.language in ("sh", "python") for block in read_blocks(ROOT / page))


def _examples() -> list[str]:
    """Commands of the generated reference, and of blocks that are not run."""
    reference = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in reference.split("Example:\n\n")[1:]]
    lines = [line.splitlines()[0] for line in lines]
    blocks = [block for page in _PAGES for block in _shell_blocks(page) if block.not_run]
    return lines + [line for block in blocks for line in block.commands if _is_ours(line)]


def _is_ours(line: str) -> bool:
    return line.startswith("mednext ")


def test_every_command_line_is_in_a_block_that_is_run() -> None:
    """Not in an indented one or in another language's, where nobody would try it."""
    hidden = [
        f"{page}: {line.strip()}"
        for page in _PAGES
        for line in (ROOT / page).read_text(encoding="utf-8").splitlines()
        if line.startswith(("    mednext ", "    $ ", "```bash", "```shell", "```console"))
    ]
    assert hidden == []


def test_what_is_not_run_is_marked_and_counted() -> None:
    left_out = [block for page in _PAGES for block in _shell_blocks(page) if block.not_run]
    assert len(left_out) == _NOT_RUN, [block.text for block in left_out]


@pytest.mark.parametrize("line", _examples())
def test_commands_that_are_not_run_name_options_that_exist(line: str) -> None:
    arguments = shlex.split(line, comments=True)
    assert main([*arguments[1:], "--help"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in _PAGES if _is_run(page)])
def test_the_lines_of_a_page_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(mednext_cli, "load_recipe", shortened_recipe, raising=False)
    if page in SCENES:
        SCENES[page]()
    names: dict[str, object] = {}
    for block in read_blocks(ROOT / page):
        _write_file(block)
        if block.language == "sh" and not block.not_run:
            for lines in _parts(block):
                _run(lines)
        if block.language == "python" and not block.not_run:
            exec(compile(block.text, page, "exec"), names)  # as the cells of a notebook


def _write_file(block: Block) -> None:
    """A block whose first line is a comment with a file's name is that file."""
    name = block.text.partition("\n")[0].removeprefix("# ")
    if block.language in ("toml", "json") and Path(name).suffix == f".{block.language}":
        Path(name).write_text(block.text)


def _parts(block: Block) -> Iterator[list[str]]:
    for _, lines in groupby(block.commands, key=_is_ours):
        yield list(lines)


def _run(lines: list[str]) -> None:
    if not _is_ours(lines[0]):
        subprocess.run(["bash", "-euc", "\n".join(lines)], check=True)
        return
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        assert main(shortened(arguments)) == 0, line
        sys.stdout.flush()
