"""docker/Dockerfile, as far as it can be judged without Docker, and what its page says to type."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from mednext_cli.app import main
from tests.contracts.conftest import ROOT
from tests.docs.markdown import read_blocks

_FILE = ROOT / "docker" / "Dockerfile"
Instruction = tuple[str, str]
if not _FILE.is_file():
    pytest.skip("no checkout around the tests", allow_module_level=True)


def _instructions() -> list[Instruction]:
    """Name and arguments, continued lines joined, comments left out."""
    lines = [
        line
        for line in _FILE.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [
        (name.upper(), rest.strip()) for name, _, rest in (one.partition(" ") for one in joined)
    ]


def _arguments(name: str) -> list[str]:
    return [rest for one, rest in _instructions() if one == name]


def _final_stage() -> list[Instruction]:
    found = _instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def _copies() -> list[tuple[str | None, list[str]]]:
    """Of every COPY the stage, None for the context, and the sources."""
    found = []
    for rest in _arguments("COPY"):
        words = rest.split()
        options = [word for word in words if word.startswith("--")]
        stage = next((o.partition("=")[2] for o in options if o.startswith("--from=")), None)
        found.append((stage, [word for word in words if word not in options][:-1]))
    return found


def test_base_images_have_a_version() -> None:
    stages: set[str] = set()
    for rest in _arguments("FROM"):
        image, *name = rest.split()
        if image not in stages:
            tag = re.fullmatch(r"[a-z./]+:([\w.-]*\d[\w.-]*)", image)
            assert tag, image
            assert "slim" in tag[1]
        stages |= set(name[1:])
    assert len(_arguments("FROM")) > 1  # compilers stay behind


def test_it_runs_our_command_as_a_user_without_rights() -> None:
    last = dict(_final_stage())  # of each instruction the last
    user, _, group = last["USER"].partition(":")
    assert int(user) > 0  # a number: Kubernetes' runAsNonRoot knows no names
    assert int(group) > 0
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "scripts"
    ]
    (command,) = json.loads(last["ENTRYPOINT"])
    assert command in scripts
    names = [name for name, _ in _final_stage()]
    assert "RUN" not in names[: names.index("USER")]  # what the image does, that user can do


def test_no_caches_of_the_users_stay_where_other_users_write() -> None:
    final = _final_stage()
    user = next(index for index, (name, _) in enumerate(final) if name == "USER")
    commands = [rest for name, rest in final[user:] if name == "RUN"]
    assert all(re.search(r"find /tmp .*-delete$", one) for one in commands)


def test_what_is_copied_is_there_and_reaches_the_context() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"  # all that is not named stays outside
    named = {rule[1:] for rule in rules if rule.startswith("!")}
    stages = {rest.split()[-1] for rest in _arguments("FROM") if " AS " in rest}
    copied: set[str] = set()
    for stage, sources in _copies():
        if stage is not None:
            assert stage in stages
            continue
        copied |= set(sources)
    assert copied == named
    assert all((ROOT / source).exists() for source in copied)


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, wheel = content["project"], content["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        *("pyproject.toml", project["readme"], *project["license-files"], *wheel["packages"]),
        *(*wheel["force-include"], wheel["hooks"]["custom"]["path"], "constraints.txt"),
    ]
    copied = {source for stage, sources in _copies() if stage is None for source in sources}
    assert {Path(path).parts[0] for path in needed} == copied


def test_torch_is_the_pinned_one() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert len(re.findall("^torch==", pins, re.MULTILINE)) == 1  # which a RUN takes from there
    commands = " ".join(_arguments("RUN"))
    assert "grep '^torch==' constraints.txt" in commands
    installs = re.findall(r"pip install [^&]*", commands)
    assert installs
    assert all("--constraint constraints.txt" in one for one in installs)


def test_nothing_is_fetched_by_hand_and_no_lists_stay() -> None:
    commands = _arguments("RUN")
    assert not _arguments("ADD")
    assert not [one for one in commands if re.search(r"\b(curl|wget|sudo|git clone)\b", one)]
    updates = [one for one in commands if "apt-get update" in one]
    assert all("rm -rf /var/lib/apt/lists/*" in one for one in updates)


def _examples() -> list[str]:
    blocks = read_blocks(ROOT / "docs" / "docker.md")
    return [line for block in blocks for line in block.commands if line.startswith("docker run")]


@pytest.mark.parametrize("line", _examples())
def test_what_the_page_says_to_type_is_a_command_of_ours(line: str) -> None:
    words = shlex.split(line)
    image = words.index("mednext")
    mounts = [words[i + 1] for i, word in enumerate(words[:image]) if word == "-v"]
    targets = [mount.split(":")[1] for mount in mounts]
    for given in (word for word in words[image:] if word.startswith("/")):
        assert any(given.startswith(target) for target in targets), given  # else it is not there
    assert main([*words[image + 1 :], "--help"]) == 0
